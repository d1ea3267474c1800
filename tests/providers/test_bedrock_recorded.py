"""What models on Bedrock really said once, read by boto3 and our adapter over loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.completion import Completion, CompletionRequest, StopReason
from core.errors import ProviderRejectedError
from core.message import ImagePart, ThinkingPart, user
from core.provider_settings import ProviderSettings
from providers.factory import create_provider
from tests.fakes.credentials import credentials
from tests.fakes.replay_server import recorded_responses, replay

CASSETTES = Path(__file__).parents[3] / "shared" / "cassettes" / "test_bedrock"
WHOLE, STREAM = "/converse", "/converse-stream"
ASKED = CompletionRequest(messages=(user("go on"),))

pytestmark = pytest.mark.skipif(
    not CASSETTES.is_dir(), reason="the recorded exchanges are not beside this repository"
)


def settings(port: int) -> ProviderSettings:
    url = f"http://127.0.0.1:{port}"
    return ProviderSettings(kind="bedrock", base_url=url, region="us-east-1")


async def replayed(name: str) -> list[Completion]:
    """Every answer of a cassette that is read at once."""
    cassette = CASSETTES / f"{name}.yaml"
    async with replay(cassette, path=WHOLE) as server:
        provider = create_provider("bedrock", settings(server.port), credentials())
        try:
            return [
                await provider.generate_completion(ASKED, model="recorded")
                for _ in recorded_responses(cassette, path=WHOLE)
            ]
        finally:
            await provider.close()


async def streamed(name: str) -> Completion:
    """The one answer of a cassette that is read as a stream, which its pieces must make."""
    async with replay(CASSETTES / f"{name}.yaml", path=STREAM) as server:
        provider = create_provider("bedrock", settings(server.port), credentials())
        try:
            chunks = [c async for c in provider.generate_stream(ASKED, model="recorded")]
        finally:
            await provider.close()
    whole = chunks[-1].completion
    assert whole is not None
    assert "".join(c.text for c in chunks) == whole.text
    return whole


def wire_of(name: str) -> list[dict[str, Any]]:
    """The recorded bodies that were not streams."""
    recorded = recorded_responses(CASSETTES / f"{name}.yaml", path=WHOLE)
    return [response["parsed_body"] for response in recorded]


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("test_bedrock_model", [StopReason.END]),
        ("test_bedrock_cache_write_and_read", [StopReason.END] * 2),
        ("test_bedrock_anthropic_tool_with_thinking", [StopReason.TOOL_CALLS, StopReason.END]),
        (
            "test_bedrock_model_structured_output",
            [StopReason.TOOL_CALLS, StopReason.END, StopReason.TOOL_CALLS],
        ),
        ("test_image_url_input", [StopReason.END]),
    ],
)
async def test_recorded_answers_are_read(name: str, stops: list[StopReason]) -> None:
    answers = await replayed(name)
    assert [a.stop_reason for a in answers] == stops
    for answer, wire in zip(answers, wire_of(name), strict=True):
        blocks = wire["output"]["message"]["content"]
        assert answer.text == "".join(b.get("text", "") for b in blocks)
        calls = [b["toolUse"] for b in blocks if "toolUse" in b]
        assert [(c.id, c.name, c.arguments) for c in answer.tool_calls] == [
            (c["toolUseId"], c["name"], c["input"]) for c in calls
        ]
        usage = wire["usage"]
        assert answer.usage.output_tokens == usage["outputTokens"]
        assert answer.usage.total_tokens == usage["totalTokens"]
        assert answer.usage.cache_read_tokens == usage.get("cacheReadInputTokens", 0)
        assert answer.usage.cache_write_tokens == usage.get("cacheWriteInputTokens", 0)


async def test_recorded_thinking_keeps_its_signature() -> None:
    (first, _) = await replayed("test_bedrock_anthropic_tool_with_thinking")
    block = wire_of("test_bedrock_anthropic_tool_with_thinking")[0]["output"]["message"]["content"]
    said = block[0]["reasoningContent"]["reasoningText"]
    own = ThinkingPart(text=said["text"], signature=said["signature"], provider="bedrock")
    assert first.parts[0] == own


async def test_recorded_cache_tokens_are_part_of_the_input() -> None:
    (written, read) = await replayed("test_bedrock_cache_write_and_read")
    assert (written.usage.input_tokens, written.usage.cache_write_tokens) == (1324, 1322)
    assert (read.usage.input_tokens, read.usage.cache_read_tokens) == (1324, 1322)


async def test_a_recorded_stream_without_block_starts_is_text() -> None:
    answer = await streamed("test_bedrock_model_stream")
    assert answer.text.startswith("The capital of France is Paris.")
    assert answer.stop_reason is StopReason.END
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (13, 82)


async def test_a_tool_that_the_service_ran_itself_is_not_ours_to_run() -> None:
    answer = await streamed("test_bedrock_model_code_execution_tool_stream")
    (call,) = answer.tool_calls
    assert (call.id, call.name) == ("tooluse_ptgCcZ0uQu-UUMz0abqoWw", "final_result")
    assert call.arguments == {"result": 7006652.0}
    assert answer.stop_reason is StopReason.TOOL_CALLS
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1002, 59)


async def test_recorded_redacted_thinking_goes_back_as_the_bytes_that_came() -> None:
    name = "test_bedrock_model_thinking_part_redacted_stream"
    answer = await streamed(name)
    hidden = [p.redacted for p in answer.parts if isinstance(p, ThinkingPart)]
    assert len(hidden) == 2
    assert answer.text.startswith("I notice you've sent")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (92, 253)
    recorded: bytes = recorded_responses(CASSETTES / f"{name}.yaml", path=STREAM)[0]["body"][
        "string"
    ]
    async with replay(CASSETTES / "test_bedrock_model.yaml", path=WHOLE) as server:
        provider = create_provider("bedrock", settings(server.port), credentials())
        followed = (*ASKED.messages, answer.to_message(), user("and?"))
        await provider.generate_completion(CompletionRequest(messages=followed), model="recorded")
        await provider.close()
    (body,) = server.requests
    sent = [b["reasoningContent"] for b in body["messages"][1]["content"][:2]]
    assert [block["redactedContent"] for block in sent] == hidden
    assert all(block["redactedContent"].encode() in recorded for block in sent)


async def test_an_image_goes_out_as_it_was_recorded() -> None:
    recorded = ImagePart(media_type="image/jpeg", data="/9j/4AAQSkZJRgABAQ==")
    async with replay(CASSETTES / "test_image_url_input.yaml", path=WHOLE) as server:
        provider = create_provider("bedrock", settings(server.port), credentials())
        request = CompletionRequest(messages=(user("What is this vegetable?", recorded),))
        answer = await provider.generate_completion(request, model="recorded")
        await provider.close()
    assert "potato" in answer.text
    image = server.requests[0]["messages"][0]["content"][1]["image"]
    assert image == {"format": "jpeg", "source": {"bytes": recorded.data}}


async def test_a_recorded_refusal_has_its_class_and_code() -> None:
    with pytest.raises(ProviderRejectedError) as caught:
        await replayed("test_bedrock_error")
    assert type(caught.value) is ProviderRejectedError
    assert caught.value.details["code"] == "ValidationException"
    with pytest.raises(ProviderRejectedError, match="model identifier is invalid"):
        await streamed("test_bedrock_streaming_error")
