"""Answers that the real services gave once, read by the real SDKs and adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.completion import Completion, CompletionRequest, StopReason
from core.errors import MalformedAnswerError, ModelNotFoundError, ProviderRejectedError
from core.message import ThinkingPart, user
from core.settings import ProviderKind, ProviderSettings
from providers.factory import create_provider
from tests.fakes.credentials import credentials
from tests.fakes.replay_server import recorded_responses, replay

CASSETTES = Path(__file__).parents[3] / "shared" / "cassettes"
ASKED = CompletionRequest(messages=(user("go on"),))
CHAT, MESSAGES = "/chat/completions", "/v1/messages"

pytestmark = pytest.mark.skipif(
    not CASSETTES.is_dir(), reason="the recorded exchanges are not beside this repository"
)


async def replayed(name: str, path: str, *, streamed: bool = False) -> list[Completion]:
    """Every answer of a cassette, as our adapter reads it."""
    kind: ProviderKind = "openai" if path == CHAT else "anthropic"
    cassette = CASSETTES / f"{name}.yaml"
    answers: list[Completion] = []
    async with replay(cassette, path=path) as server:
        url = f"http://127.0.0.1:{server.port}"
        keys = credentials(openai=f"{url}/v1", anthropic=url)
        provider = create_provider(kind, ProviderSettings(kind=kind), keys)
        try:
            for _ in recorded_responses(cassette, path=path):
                if not streamed:
                    answers.append(await provider.generate_completion(ASKED, model="recorded"))
                    continue
                chunks = [c async for c in provider.generate_stream(ASKED, model="recorded")]
                whole = chunks[-1].completion
                assert whole is not None
                assert "".join(c.text for c in chunks) == whole.text
                answers.append(whole)
        finally:
            await provider.close()
    return answers


@pytest.mark.parametrize(
    ("name", "streamed"),
    [
        ("test_openai/test_valid_response", False),
        ("test_openai/test_image_url_tool_response", False),
        ("test_openai/test_image_url_input_force_download", False),
        ("test_openai/test_openai_native_output", False),
        ("test_openai/test_compatible_api_with_tool_calls_without_id", False),
        ("test_openai/test_run_stream_sync_streams_real_model", True),
        ("test_openai_prompt_cache/test_openai_chat_prompt_cache_e2e", False),
        ("test_ollama/test_ollama_cloud_tool_output", False),
        ("test_ollama/test_ollama_local_native_output_uses_json_schema", False),
        ("test_deepseek/test_deepseek_model_thinking_stream", True),
    ],
)
async def test_recorded_chat_completions_are_read(name: str, streamed: bool) -> None:
    answers = await replayed(name, CHAT, streamed=streamed)
    assert answers
    for answer in answers:
        assert answer.text or answer.tool_calls
        assert all(c.id and c.name and c.arguments_error is None for c in answer.tool_calls)
        assert answer.stop_reason in (StopReason.END, StopReason.TOOL_CALLS)
        assert answer.usage.input_tokens > 0


@pytest.mark.parametrize(
    ("name", "streamed"),
    [
        ("test_multiple_parallel_tool_calls", False),
        ("test_anthropic_tool_with_thinking", False),
        ("test_anthropic_cache_real_api", False),
        ("test_anthropic_model_instructions", False),
        ("test_anthropic_native_output_decimal_strict", False),
        ("test_image_url_input", False),
        ("test_anthropic_model_thinking_part_stream", True),
        ("test_anthropic_model_thinking_part_redacted_stream", True),
        ("test_anthropic_web_search_tool_stream", True),
    ],
)
async def test_recorded_messages_are_read(name: str, streamed: bool) -> None:
    answers = await replayed(f"test_anthropic/{name}", MESSAGES, streamed=streamed)
    assert answers
    for answer in answers:
        assert answer.text or answer.tool_calls
        assert answer.usage.input_tokens > 0
        assert answer.usage.output_tokens > 0


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
    with pytest.raises(error) as caught:
        await replayed(name, path)
    assert type(caught.value) is error


async def test_counting_tokens_of_an_unknown_model_is_an_error() -> None:
    cassette = CASSETTES / "test_anthropic/test_anthropic_count_tokens_error.yaml"
    async with replay(cassette, path="/count_tokens") as server:
        keys = credentials(anthropic=f"http://127.0.0.1:{server.port}")
        provider = create_provider("anthropic", ProviderSettings(kind="anthropic"), keys)
        with pytest.raises(ModelNotFoundError):
            await provider.count_tokens(ASKED, model="recorded")
        await provider.close()
