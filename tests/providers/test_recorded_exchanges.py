"""Answers that the real services gave once, read by the real SDKs and adapters."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.completion import Completion, CompletionRequest, StopReason
from core.errors import (
    MalformedAnswerError,
    ModelNotFoundError,
    ProviderRejectedError,
    RateLimitedError,
)
from core.message import Message, ThinkingPart, ToolResultPart, user
from core.provider_settings import ProviderKind, ProviderSettings
from providers.base import BaseProvider
from providers.factory import create_provider
from tests.fakes.credentials import credentials
from tests.fakes.replay_server import ReplayServer, recorded_responses, replay

CASSETTES = Path(__file__).parents[3] / "shared" / "cassettes"
ASKED = CompletionRequest(messages=(user("go on"),))
CHAT, RESPONSES, MESSAGES = "/chat/completions", "/responses", "/v1/messages"

pytestmark = pytest.mark.skipif(
    not CASSETTES.is_dir(), reason="the recorded exchanges are not beside this repository"
)


async def replayed(
    name: str, path: str, *, streamed: bool = False, kind: ProviderKind = "openai"
) -> list[Completion]:
    """Every answer of a cassette, as our adapter reads it."""
    kind = "anthropic" if path == MESSAGES else kind
    cassette = CASSETTES / f"{name}.yaml"
    async with replay(cassette, path=path) as server, replayer(kind, server) as provider:
        wanted = len(recorded_responses(cassette, path=path))
        return [await answer(provider, streamed=streamed) for _ in range(wanted)]


def thoughts(completion: Completion) -> list[str]:
    return [p.text for p in completion.parts if isinstance(p, ThinkingPart)]


@asynccontextmanager
async def replayer(kind: ProviderKind, server: ReplayServer) -> AsyncGenerator[BaseProvider]:
    url = f"http://127.0.0.1:{server.port}"
    base_url = url if kind == "anthropic" else f"{url}/v1"
    settings = ProviderSettings(kind=kind, base_url=base_url, api_key=SecretStr("key"))
    provider = create_provider(kind, settings, credentials())
    try:
        yield provider
    finally:
        await provider.close()


async def answer(
    provider: BaseProvider, *, streamed: bool, request: CompletionRequest = ASKED
) -> Completion:
    if not streamed:
        return await provider.generate_completion(request, model="recorded")
    chunks = [c async for c in provider.generate_stream(request, model="recorded")]
    whole = chunks[-1].completion
    assert whole is not None
    assert "".join(c.text for c in chunks) == whole.text
    return whole


def message_of_events(response: dict[str, Any]) -> dict[str, Any]:
    """The message that a recorded stream of Anthropic's describes, put together another way."""
    lines: list[str] = response["body"]["string"].splitlines()
    events = [json.loads(x.removeprefix("data:")) for x in lines if x.startswith("data:")]
    blocks: dict[int, dict[str, Any]] = {}
    end: dict[str, Any] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {"raw": "", **event["content_block"]}
        elif event["type"] == "content_block_delta":
            block = blocks[event["index"]]
            for key in event["delta"].keys() - {"type", "citation"}:
                name = "raw" if key == "partial_json" else key
                block[name] = block.get(name, "") + event["delta"][key]
        elif event["type"] == "message_delta":
            end = {"stop_reason": event["delta"]["stop_reason"], "usage": event["usage"]}
    for block in blocks.values():
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["raw"] or "{}")
    return {"content": list(blocks.values()), **end}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("test_openai/test_valid_response", "openai"),
        ("test_openai/test_image_url_tool_response", "openai"),
        ("test_openai/test_image_url_input_force_download", "openai"),
        ("test_openai/test_openai_native_output", "openai"),
        ("test_openai/test_openai_model_thinking_part", "openai"),
        ("test_openai/test_compatible_api_with_tool_calls_without_id", "vllm"),
        ("test_openai_prompt_cache/test_openai_chat_prompt_cache_e2e", "openai"),
        ("test_ollama/test_ollama_cloud_tool_output", "ollama"),
        ("test_ollama/test_ollama_local_native_output_uses_json_schema", "ollama"),
    ],
)
async def test_recorded_chat_completions_are_read(name: str, kind: ProviderKind) -> None:
    answers = await replayed(name, CHAT, kind=kind)
    recorded = recorded_responses(CASSETTES / f"{name}.yaml", path=CHAT)
    assert answers
    for found, response in zip(answers, recorded, strict=True):
        body: dict[str, Any] = response["parsed_body"]
        message: dict[str, Any] = body["choices"][0]["message"]
        assert found.text == (message.get("content") or "")
        assert "".join(thoughts(found)) == message.get("reasoning", "")
        wire: list[dict[str, Any]] = message.get("tool_calls") or []
        assert [(c.name, c.arguments) for c in found.tool_calls] == [
            (w["function"]["name"], json.loads(w["function"]["arguments"])) for w in wire
        ]
        ends = StopReason.TOOL_CALLS if wire else StopReason.END
        assert found.stop_reason is ends
        usage: dict[str, Any] = body["usage"]
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        assert found.usage.input_tokens == usage["prompt_tokens"]
        assert found.usage.output_tokens == usage["completion_tokens"]
        assert found.usage.cache_read_tokens == details.get("cached_tokens", 0)
        assert found.usage.cache_write_tokens == details.get("cache_write_tokens", 0)


@pytest.mark.parametrize(
    ("name", "kind", "texts", "tokens"),
    [
        (
            "test_openai/test_run_stream_sync_streams_real_model",
            "openai",
            ("", "The capital of the UK is London."),
            ((53, 15), (78, 9)),
        ),
        ("test_openai/test_openai_moderation_stream", "openai", ("Paris.",), ((13, 11),)),
        (
            "test_deepseek/test_deepseek_model_thinking_stream",
            "deepseek",
            ("Hello there!",),
            ((6, 212),),
        ),
    ],
)
async def test_recorded_streams_of_chat_completions_are_read(
    name: str, kind: ProviderKind, texts: tuple[str, ...], tokens: tuple[tuple[int, int], ...]
) -> None:
    answers = await replayed(name, CHAT, streamed=True, kind=kind)
    assert tuple(a.text[: len(t)] for a, t in zip(answers, texts, strict=True)) == texts
    assert tuple((a.usage.input_tokens, a.usage.output_tokens) for a in answers) == tokens
    for answer in answers:
        ends = StopReason.TOOL_CALLS if answer.tool_calls else StopReason.END
        assert answer.stop_reason is ends
        assert all(c.id and c.name and c.arguments_error is None for c in answer.tool_calls)


async def test_streamed_reasoning_of_deepseek_is_thinking() -> None:
    name = "test_deepseek/test_deepseek_model_thinking_stream"
    (answer,) = await replayed(name, CHAT, streamed=True, kind="deepseek")
    (thought,) = thoughts(answer)
    assert thought.startswith("Hmm")
    assert answer.usage.reasoning_tokens == 198


async def test_groq_says_in_a_stream_that_its_model_wrote_no_valid_call() -> None:
    cassette = CASSETTES / "test_groq/test_tool_use_failed_error_streaming.yaml"
    async with replay(cassette, path=CHAT) as server, replayer("groq", server) as provider:
        with pytest.raises(MalformedAnswerError) as caught:
            await answer(provider, streamed=True)
        assert caught.value.details["code"] == "tool_use_failed"
        called = await answer(provider, streamed=True)
        said = await answer(provider, streamed=True)
    (call,) = called.tool_calls
    assert call.name == "get_something_by_name"
    assert isinstance(call.arguments["name"], str)
    assert called.stop_reason is StopReason.TOOL_CALLS
    assert (called.usage.input_tokens, called.usage.reasoning_tokens) == (304, 23)
    assert said.stop_reason is StopReason.END
    assert said.text
    assert thoughts(called)
    assert thoughts(said)


async def test_openrouter_says_that_who_it_asked_is_busy() -> None:
    cassette = CASSETTES / "test_openrouter/test_openrouter_errors_raised.yaml"
    async with replay(cassette, path=CHAT) as server, replayer("openrouter", server) as provider:
        for _ in recorded_responses(cassette, path=CHAT):
            with pytest.raises(RateLimitedError):
                await answer(provider, streamed=False)


@pytest.mark.parametrize(
    "name",
    [
        "test_openai/test_openai_model_thinking_part",
        "test_openai_prompt_cache/test_openai_responses_prompt_cache_e2e",
        "test_openai_responses/test_openai_responses_image_url_input",
        "test_openai_responses/test_openai_responses_model_retry",
        "test_openai_responses/test_openai_responses_model_simple_response_with_tool_call",
        "test_openai_responses/test_openai_responses_thinking_with_tool_calls",
        "test_openai_responses/test_azure_responses_reasoning_context_default_wire_contract[gpt-5.5]",
    ],
)
async def test_recorded_responses_are_read(name: str) -> None:
    answers = await replayed(name, RESPONSES, kind="openai_responses")
    recorded = recorded_responses(CASSETTES / f"{name}.yaml", path=RESPONSES)
    assert answers
    for found, response in zip(answers, recorded, strict=True):
        body: dict[str, Any] = response["parsed_body"]
        output: list[dict[str, Any]] = body["output"]
        said = [c["text"] for i in output if i["type"] == "message" for c in i["content"]]
        assert found.text == "".join(said)
        wire = [i for i in output if i["type"] == "function_call"]
        assert [(c.id, c.name, c.arguments) for c in found.tool_calls] == [
            (i["call_id"], i["name"], json.loads(i["arguments"])) for i in wire
        ]
        signed = [p.signature or "" for p in found.parts if isinstance(p, ThinkingPart)]
        assert [json.loads(s) for s in signed] == [i for i in output if i["type"] == "reasoning"]
        assert found.stop_reason is (StopReason.TOOL_CALLS if wire else StopReason.END)
        assert found.model == body["model"]
        usage: dict[str, Any] = body["usage"]
        details: dict[str, Any] = usage["input_tokens_details"]
        made: dict[str, Any] = usage["output_tokens_details"]
        assert found.usage.input_tokens == usage["input_tokens"]
        assert found.usage.output_tokens == usage["output_tokens"]
        assert found.usage.cache_read_tokens == details["cached_tokens"]
        assert found.usage.cache_write_tokens == details.get("cache_write_tokens", 0)
        assert found.usage.reasoning_tokens == made["reasoning_tokens"]


async def test_recorded_reasoning_goes_back_as_it_came() -> None:
    name = "test_openai_responses/test_openai_responses_thinking_with_tool_calls"
    cassette = CASSETTES / f"{name}.yaml"
    kind: ProviderKind = "openai_responses"
    async with replay(cassette, path=RESPONSES) as server, replayer(kind, server) as provider:
        first = await answer(provider, streamed=False)
        results = tuple(
            ToolResultPart(call_id=call.id, name=call.name, text="done")
            for call in first.tool_calls
        )
        messages = (*ASKED.messages, first.to_message(), Message(role="tool", parts=results))
        await answer(provider, streamed=False, request=CompletionRequest(messages=messages))
    output = recorded_responses(cassette, path=RESPONSES)[0]["parsed_body"]["output"]
    reasoning = [item for item in output if item["type"] == "reasoning"]
    assert reasoning
    assert [i for i in server.requests[1]["input"] if i.get("type") == "reasoning"] == reasoning


async def test_a_recorded_stream_of_responses_is_read() -> None:
    name = "test_openai_responses/test_openai_responses_stream"
    first, second = await replayed(name, RESPONSES, streamed=True, kind="openai_responses")
    (call,) = first.tool_calls
    assert call.id.startswith("call_")
    assert (call.name, call.arguments) == ("get_capital", {"country": "France"})
    assert first.stop_reason is StopReason.TOOL_CALLS
    assert second.text == "The capital of France is Paris."
    assert second.stop_reason is StopReason.END
    assert second.usage.input_tokens > 0


async def test_recorded_tokens_of_responses_are_counted() -> None:
    cassette = CASSETTES / "test_openai_responses/test_responses_count_tokens.yaml"
    kind: ProviderKind = "openai_responses"
    async with replay(cassette, path="/input_tokens") as server, replayer(kind, server) as provider:
        assert await provider.count_tokens(ASKED, model="recorded") == 16


@pytest.mark.parametrize(
    ("name", "streamed"),
    [
        ("test_anthropic/test_multiple_parallel_tool_calls", False),
        ("test_anthropic/test_anthropic_tool_with_thinking", False),
        ("test_anthropic/test_anthropic_cache_real_api", False),
        ("test_anthropic/test_anthropic_model_instructions", False),
        ("test_anthropic/test_anthropic_native_output_decimal_strict", False),
        ("test_anthropic/test_image_url_input", False),
        ("test_anthropic/test_anthropic_model_thinking_part_stream", True),
        ("test_anthropic/test_anthropic_model_thinking_part_redacted_stream", True),
        # Tools that the service runs itself are in it, which are not ours to run.
        ("test_anthropic/test_anthropic_web_search_tool_stream", True),
        ("test_tool_search/test_anthropic_native_tool_search_streaming", True),
    ],
)
async def test_recorded_messages_are_read(name: str, streamed: bool) -> None:
    answers = await replayed(name, MESSAGES, streamed=streamed)
    recorded = recorded_responses(CASSETTES / f"{name}.yaml", path=MESSAGES)
    assert answers
    stops = {"end_turn": StopReason.END, "tool_use": StopReason.TOOL_CALLS}
    for found, response in zip(answers, recorded, strict=True):
        body = message_of_events(response) if streamed else response["parsed_body"]
        blocks: list[dict[str, Any]] = body["content"]
        assert found.text == "".join(b["text"] for b in blocks if b["type"] == "text")
        assert [(c.id, c.name, c.arguments) for c in found.tool_calls] == [
            (b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"
        ]
        assert [(p.text, p.signature) for p in found.parts if isinstance(p, ThinkingPart)] == [
            (b.get("thinking", ""), b.get("signature")) for b in blocks if "thinking" in b["type"]
        ]
        assert found.stop_reason is stops[body["stop_reason"]]
        usage: dict[str, Any] = body["usage"]
        written, read = usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]
        assert found.usage.input_tokens == usage["input_tokens"] + written + read
        assert found.usage.output_tokens == usage["output_tokens"]
        assert (found.usage.cache_write_tokens, found.usage.cache_read_tokens) == (written, read)


async def test_parallel_calls_come_back_in_their_order() -> None:
    cassette = CASSETTES / "test_anthropic/test_multiple_parallel_tool_calls.yaml"
    (first, *_) = await replayed("test_anthropic/test_multiple_parallel_tool_calls", MESSAGES)
    body: dict[str, Any] = recorded_responses(cassette, path=MESSAGES)[0]["parsed_body"]
    wire = [b for b in body["content"] if b["type"] == "tool_use"]
    assert len(wire) > 1
    assert [(c.id, c.arguments) for c in first.tool_calls] == [(b["id"], b["input"]) for b in wire]


async def test_streamed_thinking_keeps_its_signature() -> None:
    name = "test_anthropic/test_anthropic_model_thinking_part_stream"
    (answer, *_) = await replayed(name, MESSAGES, streamed=True)
    thought = answer.parts[0]
    assert isinstance(thought, ThinkingPart)
    assert thought.text
    assert thought.signature


async def test_redacted_thinking_is_kept() -> None:
    name = "test_anthropic/test_anthropic_model_thinking_part_redacted_stream"
    answers = await replayed(name, MESSAGES, streamed=True)
    thoughts = [p for a in answers for p in a.parts if isinstance(p, ThinkingPart)]
    assert any(t.redacted for t in thoughts)


async def test_cached_tokens_are_part_of_the_input() -> None:
    answers = await replayed("test_anthropic/test_anthropic_cache_real_api", MESSAGES)
    cached = [a for a in answers if a.usage.cache_read_tokens]
    assert cached
    for answer in cached:
        raw, usage = answer.raw_usage, answer.usage
        apart = usage.cache_read_tokens + usage.cache_write_tokens
        assert usage.input_tokens == raw["input_tokens"] + apart


async def test_calls_without_ids_get_different_ones() -> None:
    name = "test_openai/test_compatible_api_with_tool_calls_without_id"
    answers = await replayed(name, CHAT)
    ids = [call.id for answer in answers for call in answer.tool_calls]
    assert ids
    assert len(set(ids)) == len(ids)


async def test_native_output_is_json() -> None:
    answers = await replayed("test_openai/test_openai_native_output", CHAT)
    assert isinstance(json.loads(answers[-1].text), dict)


@pytest.mark.parametrize(
    ("name", "path", "error"),
    [
        (
            "test_openai_responses/test_openai_responses_model_http_error",
            RESPONSES,
            ProviderRejectedError,
        ),
        # A gateway that answers 200 with plain text.
        ("test_openai/test_text_response", CHAT, MalformedAnswerError),
        ("test_openai/test_openai_o1_mini_system_role[system]", CHAT, ProviderRejectedError),
        (
            "test_anthropic/test_anthropic_explicit_effort_xhigh_unsupported_model_errors",
            MESSAGES,
            ProviderRejectedError,
        ),
    ],
)
async def test_recorded_failures_have_their_class(
    name: str, path: str, error: type[Exception]
) -> None:
    kind: ProviderKind = "openai_responses" if path == RESPONSES else "openai"
    with pytest.raises(error) as caught:
        await replayed(name, path, kind=kind)
    assert type(caught.value) is error


async def test_counting_tokens_of_an_unknown_model_is_an_error() -> None:
    cassette = CASSETTES / "test_anthropic/test_anthropic_count_tokens_error.yaml"
    async with replay(cassette, path="/count_tokens") as server:
        keys = credentials(anthropic=f"http://127.0.0.1:{server.port}")
        provider = create_provider("anthropic", ProviderSettings(kind="anthropic"), keys)
        with pytest.raises(ModelNotFoundError):
            await provider.count_tokens(ASKED, model="recorded")
        await provider.close()
