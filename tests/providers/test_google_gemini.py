"""What goes over the wire to Gemini's own API, and what is read from it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.completion import CompletionRequest, StopReason, ToolDefinition
from core.embedding import EmbeddingRequest
from core.errors import (
    AuthenticationError,
    ContentRefusedError,
    MalformedAnswerError,
    ManusError,
    PermissionDeniedError,
    RateLimitedError,
)
from core.message import (
    ImagePart,
    Message,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    system,
    user,
)
from providers.base import BaseProvider
from tests.fakes.kinds import provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, ScriptedCall
from tests.fakes.scripts import always
from tests.fakes.wire_embeddings import vector_of

MODEL = "gemini-3.8-flash"
TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
ASKED = CompletionRequest(messages=(system("Be brief."), user("hello")))
PIXEL = ImagePart(media_type="image/png", data="AAAA")


@pytest.fixture
async def provider(server: FakeModelServer) -> AsyncGenerator[BaseProvider]:
    made = provider_of("gemini", server)
    yield made
    await made.close()


def body_of(**candidate: Any) -> Fault:
    return Fault(status=200, body={"candidates": [candidate]})


async def test_the_key_is_in_a_header_and_in_no_address(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    await provider.generate_completion(ASKED, model=MODEL)
    await provider.count_tokens(ASKED, model=MODEL)
    await provider.get_status()
    assert [r.path for r in server.requests] == [
        f"/v1beta/models/{MODEL}:generateContent",
        f"/v1beta/models/{MODEL}:countTokens",
        "/v1beta/models",
    ]
    assert {r.headers["x-goog-api-key"] for r in server.requests} == {"gemini-key"}
    assert server.requests[0].body == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }
    counted = server.requests[1].body["generateContentRequest"]
    assert counted == {"model": f"models/{MODEL}", **server.requests[0].body}


async def test_results_lead_their_turn_and_images_follow(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    calls = (ToolCallPart(id="a", name="look"), ToolCallPart(id="b", name="look"))
    first = ToolResultPart(call_id="a", name="look", text="one", images=(PIXEL,))
    second = ToolResultPart(call_id="b", name="look", text="two", is_error=True)
    turn = (Message(role="assistant", parts=calls), Message(role="tool", parts=(first, second)))
    request = CompletionRequest(messages=(user("go"), *turn, user("and?")))
    await provider.generate_completion(request, model=MODEL)
    contents = server.requests[0].body["contents"]
    assert [c["role"] for c in contents] == ["user", "model", "user"]
    assert [next(iter(p)) for p in contents[2]["parts"]] == [
        "functionResponse",
        "functionResponse",
        "inlineData",
        "text",
    ]
    said = [p["functionResponse"]["response"] for p in contents[2]["parts"][:2]]
    assert said == [{"result": "one"}, {"error": "two"}]


@pytest.mark.parametrize(("model", "signed"), [(MODEL, True), ("gemini-2.5-flash", False)])
async def test_the_first_call_of_another_models_turn_is_marked_where_it_must_be_signed(
    model: str, signed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    foreign = ThinkingPart(text="theirs", signature="x", provider="anthropic")
    calls = (ToolCallPart(id="a", name="look"), ToolCallPart(id="b", name="look"))
    turn = Message(role="assistant", parts=(foreign, *calls))
    await provider.generate_completion(CompletionRequest(messages=(user("x"), turn)), model=model)
    parts = server.requests[0].body["contents"][1]["parts"]
    assert ["thoughtSignature" in p for p in parts] == [signed, False]
    assert "theirs" not in server.requests[0].text


@pytest.mark.parametrize("streamed", [False, True])
async def test_thoughts_are_read_and_only_what_signs_them_goes_back(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    calls = (ScriptedCall("look", {"n": 1}), ScriptedCall("look", {"n": 2}))
    server.script = always(Answer("Wait.", calls, thinking="two looks\u2028I think"))
    request = ASKED.model_copy(update={"tools": (TOOL,)})
    if streamed:
        chunks = [c async for c in provider.generate_stream(request, model=MODEL)]
        assert "".join(c.thinking.text for c in chunks if c.thinking) == "two looks\u2028I think"
        answer = chunks[-1].completion
    else:
        answer = await provider.generate_completion(request, model=MODEL)
    assert answer is not None
    assert isinstance(answer.parts[0], ThinkingPart)
    assert answer.parts[0].text == "two looks\u2028I think"
    assert answer.stop_reason is StopReason.TOOL_CALLS
    followed = CompletionRequest(messages=(*ASKED.messages, answer.to_message(), user("so?")))
    await provider.generate_completion(followed, model=MODEL)
    parts = server.requests[-1].body["contents"][1]["parts"]
    assert [p.get("thoughtSignature") for p in parts] == [None, "c2lnbmF0dXJl", None]
    assert "two looks" not in server.requests[-1].text


async def test_before_gemini_3_tools_and_a_schema_exclude_each_other(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    schema = {"type": "object", "properties": {"zebra": {"type": "string"}}}
    request = ASKED.model_copy(update={"tools": (TOOL,), "output_schema": schema})
    for model in ("gemini-2.5-flash", MODEL):
        await provider.generate_completion(request, model=model)
    old, new = (r.body for r in server.requests)
    assert "zebra" in json.dumps(old["systemInstruction"])
    assert "responseJsonSchema" not in old["generationConfig"]
    assert new["generationConfig"]["responseJsonSchema"] == schema


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (body_of(finishReason="MALFORMED_FUNCTION_CALL"), MalformedAnswerError),
        (body_of(finishReason="SAFETY"), ContentRefusedError),
        (body_of(finishReason="RECITATION"), ContentRefusedError),
        (
            Fault(status=200, body={"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
            ContentRefusedError,
        ),
        (Fault(status=400, code="API_KEY_INVALID"), AuthenticationError),
        (
            Fault(status=400, body={"error": {"code": 400, "status": "FAILED_PRECONDITION"}}),
            PermissionDeniedError,
        ),
    ],
)
async def test_what_is_no_answer_has_its_class(
    reply: Fault, error: type[ManusError], provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(reply)
    with pytest.raises(error) as caught:
        await provider.generate_completion(ASKED, model=MODEL)
    assert type(caught.value) is error


async def test_the_wait_is_read_from_the_details(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31.5s"}]
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow", "details": details}
    server.script = always(Fault(status=429, body={"error": error}))
    with pytest.raises(RateLimitedError) as caught:
        await provider.generate_completion(ASKED, model=MODEL)
    assert caught.value.retry_after_seconds == 31.5


async def test_embeddings_go_out_by_the_hundred_and_keep_their_order(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    texts = tuple(f"text {i}" for i in range(130))
    request = EmbeddingRequest(texts=texts, dimensions=4, purpose="query")
    found = await provider.generate_embeddings(request, model="gemini-embedding-001")
    assert found.vectors == tuple(vector_of(text, 4) for text in texts)
    assert [len(r.body["requests"]) for r in server.requests] == [100, 30]
    assert server.requests[0].body["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
