"""What Gemini really said once, read by our adapter over loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.completion import Completion, CompletionRequest, StopReason, ToolDefinition
from core.message import Message, ThinkingPart, ToolResultPart, system, user
from core.provider_settings import ProviderSettings
from providers.factory import create_provider
from tests.fakes.credentials import credentials
from tests.fakes.replay_server import recorded_responses, replay

CASSETTES = Path(__file__).parents[3] / "shared" / "cassettes" / "test_google"
WHOLE, STREAM = ":generateContent", ":streamGenerateContent"
MODEL = "gemini-3-flash-preview"

pytestmark = pytest.mark.skipif(
    not CASSETTES.is_dir(), reason="the recorded exchanges are not beside this repository"
)


def tool(name: str) -> ToolDefinition:
    return ToolDefinition(name=name, description="", parameters={"type": "object"})


async def conversation(
    name: str, path: str, request: CompletionRequest, *, model: str = MODEL
) -> tuple[list[Completion], list[dict[str, Any]]]:
    """Every answer of a cassette and what was sent for it, each turn with the ones before it."""
    cassette = CASSETTES / f"{name}.yaml"
    answers: list[Completion] = []
    async with replay(cassette, path=path) as server:
        url = f"http://127.0.0.1:{server.port}"
        settings = ProviderSettings(kind="gemini", base_url=url, api_key=SecretStr("key"))
        provider = create_provider("gemini", settings, credentials())
        for _ in recorded_responses(cassette, path=path):
            if path == WHOLE:
                answer = await provider.generate_completion(request, model=model)
            else:
                chunks = [c async for c in provider.generate_stream(request, model=model)]
                whole = chunks[-1].completion
                assert whole is not None
                assert "".join(c.text for c in chunks) == whole.text
                answer = whole
            answers.append(answer)
            results = tuple(
                ToolResultPart(call_id=c.id, name=c.name, text="done") for c in answer.tool_calls
            )
            said = (answer.to_message(), Message(role="tool", parts=results))
            request = request.model_copy(update={"messages": (*request.messages, *said)})
        await provider.close()
    return answers, server.requests


async def test_recorded_parallel_calls_are_read_and_go_back_signed() -> None:
    name = "test_google_instructions_only_with_tool_calls"
    request = CompletionRequest(
        messages=(system("Tell three jokes."),),
        tools=(tool("generate_topic"), tool("final_result")),
    )
    answers, sent = await conversation(name, WHOLE, request)
    wire = [r["parsed_body"] for r in recorded_responses(CASSETTES / f"{name}.yaml", path=WHOLE)]
    assert [len(a.tool_calls) for a in answers] == [3, 1, 1, 1, 1]
    assert len({c.id for a in answers for c in a.tool_calls}) == 7, "ids are minted"
    for number, (answer, body) in enumerate(zip(answers, wire, strict=True)):
        parts = body["candidates"][0]["content"]["parts"]
        assert [(c.name, c.arguments) for c in answer.tool_calls] == [
            (p["functionCall"]["name"], p["functionCall"]["args"]) for p in parts
        ]
        assert answer.stop_reason is StopReason.TOOL_CALLS
        assert (answer.model, answer.request_id) == (body["modelVersion"], body["responseId"])
        usage = body["usageMetadata"]
        assert answer.usage.input_tokens == usage["promptTokenCount"]
        assert answer.usage.reasoning_tokens == usage["thoughtsTokenCount"]
        assert answer.usage.total_tokens == usage["totalTokenCount"]
        for later in sent[number + 1 :]:
            turn = later["contents"][1 + 2 * number]
            back = [p.get("thoughtSignature") for p in turn["parts"]]
            assert back == [p.get("thoughtSignature") for p in parts]
    assert sent[0]["contents"] == [{"role": "user", "parts": [{"text": ""}]}]


async def test_a_recorded_stream_of_text_is_read() -> None:
    request = CompletionRequest(messages=(user("What is the capital of France?"),))
    ((answer,), (sent,)) = await conversation(
        "test_google_model_stream", STREAM, request, model="gemini-2.0-flash-exp"
    )
    assert answer.text == "The capital of France is Paris.\n"
    assert answer.stop_reason is StopReason.END
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (13, 8)
    assert not [p for p in answer.parts if isinstance(p, ThinkingPart)]
    assert "generationConfig" not in sent, "this model has no thoughts to show"


async def test_a_recorded_streamed_call_keeps_its_signature() -> None:
    name = "test_google_streaming_tool_call_thought_signature"
    request = CompletionRequest(messages=(user("Call the tool"),), tools=(tool("get_country"),))
    (called, said), (_, second) = await conversation(name, STREAM, request)
    (call,) = called.tool_calls
    assert (call.name, call.arguments) == ("get_country", {})
    assert called.stop_reason is StopReason.TOOL_CALLS
    assert (called.usage.input_tokens, called.usage.output_tokens) == (29, 212)
    assert called.usage.reasoning_tokens == 202
    body: str = recorded_responses(CASSETTES / f"{name}.yaml", path=STREAM)[0]["body"]["string"]
    (signed,) = second["contents"][1]["parts"]
    assert len(signed["thoughtSignature"]) > 1000
    assert f'"{signed["thoughtSignature"]}"' in body
    assert said.text == "The capital of Mexico is Mexico City."
    assert said.stop_reason is StopReason.END
    assert (said.usage.input_tokens, said.usage.output_tokens) == (257, 8)
