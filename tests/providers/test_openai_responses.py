"""What goes over the wire to OpenAI's Responses API, and what is read from it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.completion import (
    Completion,
    CompletionRequest,
    StopReason,
    TokenUsage,
    ToolChoice,
    ToolDefinition,
)
from core.errors import (
    ContentRefusedError,
    MalformedAnswerError,
    ManusError,
    OverloadedError,
    ProviderRejectedError,
    ProviderTimeoutError,
    RateLimitedError,
    TruncatedStreamError,
)
from core.message import (
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    system,
    user,
)
from providers.base import BaseProvider
from tests.fakes.kinds import provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, ScriptedCall, ScriptedUsage
from tests.fakes.scripts import always

MODEL = "gpt-6-sol"
TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
PIXEL = ImagePart(media_type="image/png", data="AAAA")
SHOWN = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
ASKED = CompletionRequest(messages=(system("Be brief."), user("hello")))


@pytest.fixture
async def provider(server: FakeModelServer) -> AsyncGenerator[BaseProvider]:
    made = provider_of("openai_responses", server)
    yield made
    await made.close()


async def sent(
    provider: BaseProvider, server: FakeModelServer, request: CompletionRequest, model: str = MODEL
) -> dict[str, Any]:
    await provider.generate_completion(request, model=model)
    return server.requests[-1].body


async def answered(
    provider: BaseProvider, request: CompletionRequest, *, streamed: bool
) -> Completion:
    if not streamed:
        return await provider.generate_completion(request, model=MODEL)
    chunks = [chunk async for chunk in provider.generate_stream(request, model=MODEL)]
    whole = chunks[-1].completion
    assert whole is not None
    assert "".join(chunk.text for chunk in chunks) == whole.text
    return whole


async def test_a_plain_request_keeps_nothing_at_the_service(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    assert await sent(provider, server, ASKED) == {
        "model": MODEL,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "input": [
            {"role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        ],
    }


@pytest.mark.parametrize(
    ("model", "temperature", "reasoning"),
    [
        ("gpt-6-sol", False, True),
        ("gpt-4.1", True, False),
        ("o4-mini", False, True),
        ("a-deployment", True, True),
    ],
)
async def test_limits_sampling_and_reasoning_follow_the_model(
    model: str,
    temperature: bool,
    reasoning: bool,
    provider: BaseProvider,
    server: FakeModelServer,
) -> None:
    request = ASKED.model_copy(update={"max_output_tokens": 5, "temperature": 0.5})
    body = await sent(provider, server, request, model)
    assert body["max_output_tokens"] == 16, "a lower one is refused"
    assert ("temperature" in body) is temperature
    assert ("include" in body) is reasoning


@pytest.mark.parametrize("mode", ["auto", "required", "none", "named"])
async def test_tools_are_flat_and_their_choice_is_said_in_its_words(
    mode: str, provider: BaseProvider, server: FakeModelServer
) -> None:
    choice = ToolChoice.model_validate({"mode": mode, "name": "look" if mode == "named" else None})
    request = ASKED.model_copy(
        update={"tools": (TOOL,), "tool_choice": choice, "parallel_tool_calls": False}
    )
    body = await sent(provider, server, request)
    assert body["tools"] == [
        {
            "type": "function",
            "strict": False,
            "name": "look",
            "description": "Looks.",
            "parameters": {"type": "object"},
        }
    ]
    named = {"type": "function", "name": "look"}
    assert body["tool_choice"] == (named if mode == "named" else mode)
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize("closed", [True, False])
async def test_an_output_schema_is_a_text_format(
    closed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    schema |= {"additionalProperties": False} if closed else {}
    body = await sent(provider, server, ASKED.model_copy(update={"output_schema": schema}))
    named = {"type": "json_schema", "name": "output", "schema": schema, "strict": closed}
    assert body["text"] == {"format": named}


async def test_results_answer_the_call_and_may_hold_images(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    foreign = ThinkingPart(text="secret thought", signature="x", provider="anthropic")
    calls = (ToolCallPart(id="a", name="look", arguments={"at": 1}), ToolCallPart(id="b", name="l"))
    results = (
        ToolResultPart(call_id="a", name="look", text="one", images=(PIXEL,)),
        ToolResultPart(call_id="b", name="l", text="two"),
    )
    messages = (
        user("go", PIXEL),
        Message(role="assistant", parts=(foreign, TextPart(text="Wait."), *calls)),
        Message(role="tool", parts=results),
    )
    body = await sent(provider, server, CompletionRequest(messages=messages))
    first, *rest = body["input"]
    assert first["content"] == [{"type": "input_text", "text": "go"}, SHOWN]
    output = [{"type": "input_text", "text": "one"}, SHOWN]
    assert rest == [
        {"role": "assistant", "content": "Wait."},
        {"type": "function_call", "call_id": "a", "name": "look", "arguments": '{"at": 1}'},
        {"type": "function_call", "call_id": "b", "name": "l", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": output},
        {"type": "function_call_output", "call_id": "b", "output": "two"},
    ]


@pytest.mark.parametrize("streamed", [False, True])
async def test_reasoning_calls_and_usage_are_read_and_go_back_unchanged(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    usage = ScriptedUsage(input=1329, output=40, cache_read=1322, cache_write=5, reasoning=8)
    calls = (ScriptedCall("look", {"at": "a very tall tree"}), ScriptedCall("look", ""))
    server.script = always(Answer("Wait.", calls, thinking="two looks, I think", usage=usage))
    request = ASKED.model_copy(update={"tools": (TOOL,)})
    answer = await answered(provider, request, streamed=streamed)
    assert answer.stop_reason is StopReason.TOOL_CALLS
    thought, text, *_ = answer.parts
    assert isinstance(thought, ThinkingPart)
    assert (thought.text, thought.provider) == ("two looks, I think", "openai_responses")
    assert text == TextPart(text="Wait.")
    assert [c.arguments for c in answer.tool_calls] == [{"at": "a very tall tree"}, {}]
    assert [c.id for c in answer.tool_calls] == ["call_0_0", "call_0_1"], "not the items' own ids"
    assert answer.request_id == "req_0"
    assert answer.usage == TokenUsage(
        input_tokens=1329,
        output_tokens=40,
        cache_read_tokens=1322,
        cache_write_tokens=5,
        reasoning_tokens=8,
    )
    followed = CompletionRequest(messages=(*ASKED.messages, answer.to_message(), user("so?")))
    body = await sent(provider, server, followed)
    assert body["input"][2] == {
        "type": "reasoning",
        "id": "rs_0",
        "summary": [{"type": "summary_text", "text": "two looks, I think"}],
        "encrypted_content": "c2lnbmF0dXJl",
    }
    kinds = [item.get("type", item.get("role")) for item in body["input"][2:]]
    assert kinds == ["reasoning", "assistant", "function_call", "function_call", "user"]


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "c2lnbmF0dXJl",
        json.dumps({"type": "reasoning", "id": "rs", "summary": []}),
        json.dumps(["reasoning"]),
    ],
    ids=["none", "another protocol's", "not encrypted", "no item"],
)
async def test_reasoning_that_cannot_be_read_there_is_left_out(
    signature: str | None, provider: BaseProvider, server: FakeModelServer
) -> None:
    thought = ThinkingPart(text="hm", signature=signature, provider="openai_responses")
    said = Message(role="assistant", parts=(thought, TextPart(text="yes")))
    body = await sent(provider, server, CompletionRequest(messages=(user("x"), said, user("y"))))
    assert [item["role"] for item in body["input"]] == ["user", "assistant", "user"]


async def test_reasoning_that_led_to_nothing_is_left_out(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    item = {"type": "reasoning", "id": "rs", "encrypted_content": "sealed"}
    thought = ThinkingPart(signature=json.dumps(item), provider="openai_responses")
    cut = Message(role="assistant", parts=(thought,))
    body = await sent(provider, server, CompletionRequest(messages=(user("x"), cut, user("y"))))
    assert [item["role"] for item in body["input"]] == ["user", "user"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_cut_by_the_limit_says_so(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(Answer(text="half of it", stop="length"))
    answer = await answered(provider, ASKED, streamed=streamed)
    assert (answer.text, answer.stop_reason) == ("half of it", StopReason.LENGTH)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_refusal_in_words_is_an_answer(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(Answer(text="I will not do that, ever.", stop="refusal"))
    answer = await answered(provider, ASKED, streamed=streamed)
    assert answer.text == "I will not do that, ever."
    assert answer.stop_reason is StopReason.REFUSAL


FAILURES: list[tuple[str, type[ManusError]]] = [
    ("server_error", OverloadedError),
    ("rate_limit_exceeded", RateLimitedError),
    ("vector_store_timeout", ProviderTimeoutError),
    ("invalid_prompt", ContentRefusedError),
    ("image_content_policy_violation", ContentRefusedError),
    ("image_too_large", ProviderRejectedError),
    ("something_new", OverloadedError),
]


@pytest.mark.parametrize(("code", "error"), FAILURES)
async def test_a_failed_response_is_an_error_by_its_code(
    code: str, error: type[ManusError], provider: BaseProvider, server: FakeModelServer
) -> None:
    problem = {"code": code, "message": "it failed for openai_responses-key"}
    body = {"status": "failed", "error": problem}
    server.script = always(Fault(status=200, body=body))
    with pytest.raises(error, match="it failed") as caught:
        await provider.generate_completion(ASKED, model=MODEL)
    assert type(caught.value) is error
    assert caught.value.details["code"] == code
    assert "openai_responses-key" not in str(caught.value)


@pytest.mark.parametrize(("code", "error"), FAILURES)
async def test_a_stream_that_fails_is_an_error_by_its_code(
    code: str, error: type[ManusError], provider: BaseProvider, server: FakeModelServer
) -> None:
    problem = {"code": code, "message": "it failed"}
    failed = {"type": "response.failed", "response": {"status": "failed", "error": problem}}
    text = f"event: response.failed\ndata: {json.dumps(failed)}\n\n"
    headers = {"content-type": "text/event-stream"}
    server.script = always(Fault(status=200, body=text, headers=headers))
    with pytest.raises(error, match="it failed") as caught:
        await answered(provider, ASKED, streamed=True)
    assert type(caught.value) is error


async def test_a_stream_needs_its_terminal_event(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    events = [
        {"type": "response.output_text.delta", "delta": "all of it"},
        {"type": "response.output_text.done", "text": "all of it"},
    ]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    headers = {"content-type": "text/event-stream"}
    server.script = always(Fault(status=200, body=text, headers=headers))
    with pytest.raises(TruncatedStreamError):
        await answered(provider, ASKED, streamed=True)


async def test_a_last_event_without_its_output_is_made_whole(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    content = [{"type": "output_text", "text": "yes"}]
    item = {"type": "message", "content": content}
    events: list[dict[str, Any]] = [
        {"type": "response.output_text.delta", "delta": "yes"},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    headers = {"content-type": "text/event-stream"}
    server.script = always(Fault(status=200, body=text, headers=headers))
    assert (await answered(provider, ASKED, streamed=True)).text == "yes"


@pytest.mark.parametrize("status", ["queued", "in_progress", None])
async def test_a_response_that_is_not_done_is_no_answer(
    status: str | None, provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(Fault(status=200, body={"status": status, "output": []}))
    with pytest.raises(MalformedAnswerError):
        await provider.generate_completion(ASKED, model=MODEL)


async def test_tokens_are_counted_by_the_service_without_what_it_does_not_know(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"tools": (TOOL,), "max_output_tokens": 50})
    assert await provider.count_tokens(request, model=MODEL) > 0
    counted = server.requests[-1]
    assert counted.path == "/v1/responses/input_tokens"
    assert counted.body.keys() == {"model", "input", "tools", "tool_choice"}
