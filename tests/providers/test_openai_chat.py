"""What goes over the wire to a chat completions server, and what is read from it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.completion import CompletionRequest, TokenUsage, ToolChoice, ToolDefinition
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
from core.provider_settings import ProviderSettings
from providers.base import BaseProvider
from providers.factory import create_provider
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, ScriptedCall, ScriptedUsage
from tests.fakes.scripts import always

TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
PIXEL = ImagePart(media_type="image/png", data="AAAA")
ASKED = CompletionRequest(messages=(system("Be brief."), user("hello")))


@pytest.fixture
async def provider(server: FakeModelServer) -> AsyncGenerator[BaseProvider]:
    keys = credentials(openai=server.openai_url)
    made = create_provider("openai", ProviderSettings(kind="openai"), keys)
    yield made
    await made.close()


async def sent(
    provider: BaseProvider, server: FakeModelServer, request: CompletionRequest, model: str
) -> dict[str, Any]:
    await provider.generate_completion(request, model=model)
    return server.requests[-1].body


async def test_a_plain_request_holds_only_what_was_asked(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    body = await sent(provider, server, ASKED, "gpt-6-sol")
    assert body == {"model": "gpt-6-sol", "messages": messages}


@pytest.mark.parametrize(
    ("model", "limit", "temperature"),
    [
        ("gpt-6-sol", "max_completion_tokens", False),
        ("gpt-4.1", "max_completion_tokens", True),
        ("openai/gpt-5.5", "max_completion_tokens", False),
        ("gpt-oss:20b", "max_tokens", True),
        ("llama-4", "max_tokens", True),
    ],
)
async def test_limits_and_sampling_follow_the_model(
    model: str, limit: str, temperature: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"max_output_tokens": 50, "temperature": 0.5})
    body = await sent(provider, server, request, model)
    assert body[limit] == 50
    assert ("temperature" in body) is temperature


@pytest.mark.parametrize(("asked", "sent_value"), [(None, 0.2), (0.0, 0.0)])
async def test_the_temperature_of_the_configuration_is_for_requests_without_one(
    asked: float | None, sent_value: float, server: FakeModelServer
) -> None:
    settings = ProviderSettings(kind="openai", temperature=0.2)
    made = create_provider("openai", settings, credentials(openai=server.openai_url))
    request = ASKED.model_copy(update={"temperature": asked})
    assert (await sent(made, server, request, "house-model"))["temperature"] == sent_value
    await made.close()


@pytest.mark.parametrize("mode", ["auto", "required", "none", "named"])
async def test_tool_choices_are_said_in_its_words(
    mode: str, provider: BaseProvider, server: FakeModelServer
) -> None:
    choice = ToolChoice.model_validate({"mode": mode, "name": "look" if mode == "named" else None})
    request = ASKED.model_copy(
        update={"tools": (TOOL,), "tool_choice": choice, "parallel_tool_calls": False}
    )
    body = await sent(provider, server, request, "gpt-6-sol")
    named = {"type": "function", "function": {"name": "look"}}
    assert body["tool_choice"] == (named if mode == "named" else mode)
    assert body["parallel_tool_calls"] is False


async def test_a_tool_turn_goes_back_result_by_result_with_images_after(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    calls = (ToolCallPart(id="a", name="look"), ToolCallPart(id="b", name="look"))
    foreign = ThinkingPart(text="secret thought", signature="x", provider="anthropic")
    results = (
        ToolResultPart(call_id="a", name="look", text="one", images=(PIXEL,)),
        ToolResultPart(call_id="b", name="look", text="two"),
    )
    turn = Message(role="assistant", parts=(foreign, *calls))
    request = CompletionRequest(
        messages=(*ASKED.messages, turn, Message(role="tool", parts=results))
    )
    body = await sent(provider, server, request, "gpt-6-sol")
    assert [m["role"] for m in body["messages"][2:]] == ["assistant", "tool", "tool", "user"]
    assert body["messages"][2]["content"] is None
    assert body["messages"][5]["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert "secret thought" not in json.dumps(body)


async def test_own_reasoning_goes_back_within_a_tool_loop_only(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    own = ThinkingPart(text="because", provider="openai")
    looped = Message(role="assistant", parts=(own, ToolCallPart(id="a", name="look")))
    done = Message(role="assistant", parts=(own, TextPart(text="done")))
    request = CompletionRequest(messages=(user("x"), looped, done, user("y")))
    body = await sent(provider, server, request, "house-model")
    assert body["messages"][1]["reasoning_content"] == "because"
    assert "reasoning_content" not in body["messages"][2]


@pytest.mark.parametrize("closed", [True, False])
async def test_strict_mode_is_used_where_the_schema_allows_it(
    closed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    schema |= {"additionalProperties": False} if closed else {}
    request = ASKED.model_copy(update={"output_schema": schema})
    body = await sent(provider, server, request, "gpt-6-sol")
    assert body["response_format"]["json_schema"]["strict"] is closed


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_thinking_and_usage_are_read(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    calls = (ScriptedCall("look", {"at": "a tall tree"}), ScriptedCall("look", {"at": "me"}))
    usage = ScriptedUsage(input=100, output=20, cache_read=60, cache_write=10, reasoning=8)
    server.script = always(Answer(tool_calls=calls, thinking="two looks", usage=usage))
    request = ASKED.model_copy(update={"tools": (TOOL,)})
    if streamed:
        stream = provider.generate_stream(request, model="gpt-6-sol")
        answer = [chunk async for chunk in stream][-1].completion
    else:
        answer = await provider.generate_completion(request, model="gpt-6-sol")
    assert answer is not None
    assert [c.arguments["at"] for c in answer.tool_calls] == ["a tall tree", "me"]
    assert [c.id for c in answer.tool_calls] == ["call_0_0", "call_0_1"]
    assert answer.parts[0] == ThinkingPart(text="two looks", provider="openai")
    assert answer.request_id == "req_0"
    assert answer.usage == TokenUsage(
        input_tokens=100,
        output_tokens=20,
        cache_read_tokens=60,
        cache_write_tokens=10,
        reasoning_tokens=8,
    )
    assert answer.raw_usage["prompt_tokens"] == 100


@pytest.mark.parametrize(
    ("raw", "problem"),
    [("", None), ("{}", None), ('{"a": ', "not valid JSON"), ("[1]", "not list")],
)
async def test_arguments_are_an_object_or_a_problem_told_to_the_model(
    raw: str, problem: str | None, provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(Answer(tool_calls=(ScriptedCall("look", raw),), without_ids=True))
    answer = await provider.generate_completion(ASKED, model="gpt-6-sol")
    (call,) = answer.tool_calls
    assert call.id.startswith("call_"), "an id is minted where the server gave none"
    assert call.arguments == {}
    assert (problem or "") in (call.arguments_error or "")
    assert (call.arguments_error is None) is (problem is None)


async def test_a_gateways_error_with_status_200_is_an_error(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    body = {"error": {"message": "upstream is gone", "code": 502}}
    server.script = always(Fault(status=200, body=body))
    with pytest.raises(Exception, match="502 upstream is gone") as caught:
        await provider.generate_completion(ASKED, model="gpt-6-sol")
    assert type(caught.value).__name__ == "OverloadedError"
