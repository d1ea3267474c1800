"""How requests to compatible services differ from those to OpenAI, and what they answer."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from core.completion import (
    Completion,
    CompletionRequest,
    StopReason,
    TokenUsage,
    ToolChoice,
    ToolDefinition,
)
from core.message import Message, TextPart, ThinkingPart, ToolCallPart, ToolResultPart, user
from core.provider_settings import Credentials, ProviderKind, ProviderSettings
from providers.base import BaseProvider
from providers.deployment import DEFAULT_MODELS
from providers.kinds import kinds
from providers.prices import PriceBook
from providers.profiles import load_profiles, ollama_base_url
from tests.fakes.credentials import credentials
from tests.fakes.kinds import MODELS, provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, ScriptedCall
from tests.fakes.scripts import always

TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
OTHER = ToolDefinition(name="listen", description="Listens.", parameters={"type": "object"})
ASKED = CompletionRequest(messages=(user("hello"),))
COMPATIBLE = [kind for kind, profile in load_profiles().items() if profile.endpoint == "chat"]


@asynccontextmanager
async def opened(
    kind: ProviderKind, server: FakeModelServer, **more: Any
) -> AsyncGenerator[BaseProvider]:
    provider = provider_of(kind, server, **more)
    try:
        yield provider
    finally:
        await provider.close()


async def answered(provider: BaseProvider, *, streamed: bool) -> Completion:
    if not streamed:
        return await provider.generate_completion(ASKED, model="any")
    chunks = [chunk async for chunk in provider.generate_stream(ASKED, model="any")]
    whole = chunks[-1].completion
    assert whole is not None
    return whole


def plain(message: dict[str, Any]) -> Fault:
    """A message as it stands, where a script could not say it."""
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Fault(status=200, body={"choices": [choice]})


def sse(deltas: list[dict[str, Any]]) -> Fault:
    """A stream of deltas, the last of which ends it."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices[-1]["finish_reason"] = "stop"
    events = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
    headers = {"content-type": "text/event-stream"}
    return Fault(status=200, body="".join(events) + "data: [DONE]\n\n", headers=headers)


async def sent(
    kind: ProviderKind, server: FakeModelServer, request: CompletionRequest
) -> dict[str, Any]:
    async with opened(kind, server) as provider:
        await provider.generate_completion(request, model=MODELS[kind])
    return server.requests[-1].body


def test_every_kind_can_be_made_and_every_variable_is_known() -> None:
    assert set(kinds()) == set(get_args(ProviderKind))
    for kind in kinds().values():
        named = (kind.key, kind.address, kind.deployment, *kind.api_version, *kind.needed)
        assert {name.lower() for name in named if name} <= Credentials.model_fields.keys()


def test_what_has_no_default_model_is_what_only_an_operator_knows() -> None:
    assert set(get_args(ProviderKind)) - DEFAULT_MODELS.keys() == {"azure", "vllm"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("google", "max_tokens"),
        ("openrouter", "max_tokens"),
        ("groq", "max_completion_tokens"),
        ("deepseek", "max_tokens"),
        ("ollama", "max_tokens"),
        ("vllm", "max_tokens"),
    ],
)
async def test_a_limit_has_the_name_that_the_service_knows(
    kind: ProviderKind, name: str, server: FakeModelServer
) -> None:
    body = await sent(kind, server, ASKED.model_copy(update={"max_output_tokens": 50}))
    assert body == {"model": MODELS[kind], "messages": body["messages"], name: 50}


@pytest.mark.parametrize("kind", COMPATIBLE)
async def test_parallel_calls_are_forbidden_only_where_that_can_be_said(
    kind: ProviderKind, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"tools": (TOOL,), "parallel_tool_calls": False})
    body = await sent(kind, server, request)
    assert ("parallel_tool_calls" in body) is load_profiles()[kind].parallel_tool_calls


async def test_a_choice_that_cannot_be_demanded_is_all_there_is(server: FakeModelServer) -> None:
    request = ASKED.model_copy(
        update={"tools": (OTHER, TOOL), "tool_choice": ToolChoice(mode="named", name="look")}
    )
    body = await sent("ollama", server, request)
    assert body["tool_choice"] == "auto"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]


async def test_a_service_without_schemas_gets_them_in_words(server: FakeModelServer) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    body = await sent("deepseek", server, ASKED.model_copy(update={"output_schema": schema}))
    assert body["response_format"] == {"type": "json_object"}
    assert json.dumps(schema) in body["messages"][-1]["content"]
    assert "JSON" in body["messages"][-1]["content"], "the service insists on that word"


async def test_refused_keywords_are_stripped_but_not_properties_of_that_name(
    server: FakeModelServer,
) -> None:
    inner = {"type": "object", "additionalProperties": False, "properties": {"a": {"const": 1}}}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"const": inner, "list": {"type": "array", "items": inner}},
        "anyOf": [{"additionalProperties": True, "enum": ["examples"]}],
    }
    tool = TOOL.model_copy(update={"parameters": schema})
    request = ASKED.model_copy(update={"tools": (tool,), "output_schema": schema})
    body = await sent("google", server, request)
    plain: dict[str, Any] = {"type": "object", "properties": {"a": {}}}
    expected: dict[str, Any] = {
        "type": "object",
        "properties": {"const": plain, "list": {"type": "array", "items": plain}},
        "anyOf": [{"enum": ["examples"]}],
    }
    assert body["tools"][0]["function"]["parameters"] == expected
    assert body["response_format"]["json_schema"]["schema"] == expected


@pytest.mark.parametrize(
    ("kind", "looped", "silent"),
    [
        ("openai", {"reasoning_content": "because"}, {}),
        ("openrouter", {"reasoning": "because"}, {}),
        ("ollama", {"reasoning": "because"}, {}),
        ("deepseek", {"reasoning_content": "because"}, {"reasoning_content": ""}),
        ("google", {}, {}),
        ("groq", {}, {}),
        ("vllm", {}, {}),
    ],
)
async def test_own_thinking_goes_back_where_and_as_the_service_wants_it(
    kind: ProviderKind, looped: dict[str, str], silent: dict[str, str], server: FakeModelServer
) -> None:
    own = ThinkingPart(text="because", provider=kind)
    foreign = ThinkingPart(text="secret", provider="someone-else")
    call = ToolCallPart(id="a", name="look")
    messages = (
        user("x"),
        Message(role="assistant", parts=(own, foreign, call)),
        Message(role="assistant", parts=(foreign, call)),
        Message(role="assistant", parts=(own, TextPart(text="done"))),
    )
    body = await sent(kind, server, CompletionRequest(messages=messages))
    _, first, second, last = (
        {k: v for k, v in m.items() if k.startswith("reasoning")} for m in body["messages"]
    )
    assert (first, second, last) == (looped, silent, {})
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_signs_a_call_goes_back_with_it(streamed: bool, server: FakeModelServer) -> None:
    extra = {"google": {"thought_signature": "c2lnbmVk"}}
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    unsigned = call | {"id": "b"}
    calls = [call | {"extra_content": extra, "index": 0}, unsigned | {"index": 1}]
    said = {"tool_calls": calls}
    server.script = always(sse([said]) if streamed else plain(said))
    async with opened("google", server) as provider:
        answer = await answered(provider, streamed=streamed)
        assert answer.stop_reason is StopReason.TOOL_CALLS
        results = (ToolResultPart(call_id=i, name="look", text="x") for i in "ab")
        messages = (user("x"), answer.to_message(), Message(role="tool", parts=tuple(results)))
        server.script = always(Answer(text="done"))
        await provider.generate_completion(CompletionRequest(messages=messages), model="gemini")
    wire = server.requests[-1].body["messages"][1]["tool_calls"]
    assert wire == [call | {"extra_content": extra}, unsigned]


@pytest.mark.parametrize("signature", ["c2lnbmVk", '{"type": "reasoning"}', "[]"])
async def test_a_signature_of_another_protocol_is_not_sent(
    signature: str, server: FakeModelServer
) -> None:
    thought = ThinkingPart(text="hm", signature=signature, provider="google")
    turn = Message(role="assistant", parts=(thought, ToolCallPart(id="a", name="look")))
    body = await sent("google", server, CompletionRequest(messages=(user("x"), turn)))
    assert body["messages"][1].keys() == {"role", "content", "tool_calls"}
    assert body["messages"][1]["tool_calls"][0].keys() == {"id", "type", "function"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_reasoning_details_go_back_whole_in_place_of_their_text(
    streamed: bool, server: FakeModelServer
) -> None:
    text = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    sealed = {"type": "reasoning.encrypted", "index": 1, "data": "c2VhbGVk"}
    whole = [text | {"text": "two looks", "signature": "c2lnbmVk"}, sealed]
    pieces = [[text | {"text": "two "}], [text | {"text": "looks"}]]
    pieces += [[text | {"signature": "c2lnbmVk"}], [sealed]]
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    said = {"reasoning": "two looks", "tool_calls": [call | {"index": 0}]}
    deltas = [*({"reasoning_details": piece} for piece in pieces), said]
    messages = [said | {"reasoning_details": whole}]
    script = sse(deltas) if streamed else plain(messages[0])
    server.script = always(script)
    async with opened("openrouter", server) as provider:
        answer = await answered(provider, streamed=streamed)
        server.script = always(Answer(text="done"))
        turns = (user("x"), answer.to_message())
        await provider.generate_completion(CompletionRequest(messages=turns), model="any")
    wire = server.requests[-1].body["messages"][1]
    assert wire == {
        "role": "assistant",
        "content": None,
        "tool_calls": [call],
        "reasoning_details": whole,
    }


async def test_an_error_of_whom_a_gateway_asked_has_its_status(server: FakeModelServer) -> None:
    error = {"error": {"message": "upstream is busy", "code": 429}}
    server.script = always(Fault(status=200, body=f"data: {json.dumps(error)}\n\n"))
    async with opened("openrouter", server) as provider:
        with pytest.raises(Exception, match="429 upstream is busy") as caught:
            async for _ in provider.generate_stream(ASKED, model="any"):
                pass
    assert type(caught.value).__name__ == "RateLimitedError"


async def test_a_server_that_needs_no_key_is_asked_without_one(server: FakeModelServer) -> None:
    server.script = always(Answer(tool_calls=(ScriptedCall("look"),)))
    async with opened("ollama", server, api_key=None) as provider:
        answer = await provider.generate_completion(ASKED, model="qwen3:8b")
        status = await provider.get_status()
    assert answer.tool_calls
    assert status.reachable


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080/v1"),
        (":8080", "http://127.0.0.1:8080/v1"),
        ("[::]", "http://[::1]:11434/v1"),
        ("box", "http://box:11434/v1"),
        ("http://box/", "http://box:80/v1"),
        ("https://box/models/", "https://box:443/models/v1"),
    ],
)
def test_the_host_of_ollama_is_read_as_its_own_clients_do(host: str, url: str) -> None:
    assert ollama_base_url(host) == url


@pytest.mark.parametrize("kind", ["openai", "openai_responses", "google", "groq", "deepseek"])
def test_a_default_model_has_a_published_price(kind: ProviderKind) -> None:
    settings = ProviderSettings(kind=kind, api_key=SecretStr("k"))
    book = PriceBook({"it": kinds()[kind].resolve("it", settings, credentials())})
    model = DEFAULT_MODELS[kind]
    answer = Completion(
        parts=(),
        stop_reason=StopReason.END,
        provider="it",
        deployment=f"it:{model}",
        model=model,
        usage=TokenUsage(input_tokens=1000, output_tokens=100),
    )
    assert (book.cost_usd(answer) or 0) > 0
