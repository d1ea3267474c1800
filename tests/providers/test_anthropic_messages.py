"""What goes over the wire to Anthropic's messages API, and what is read from it."""

from __future__ import annotations

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
from tests.fakes.script import Answer, ScriptedCall, ScriptedUsage
from tests.fakes.scripts import always

MODEL = "claude-sonnet-5-5"
TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
PIXEL = ImagePart(media_type="image/png", data="AAAA")
ASKED = CompletionRequest(messages=(system("Be brief."), user("hello")))


@pytest.fixture
async def provider(server: FakeModelServer) -> AsyncGenerator[BaseProvider]:
    keys = credentials(anthropic=server.anthropic_url)
    made = create_provider("anthropic", ProviderSettings(kind="anthropic"), keys)
    yield made
    await made.close()


async def sent(
    provider: BaseProvider, server: FakeModelServer, request: CompletionRequest
) -> dict[str, Any]:
    await provider.generate_completion(request, model=MODEL)
    return server.requests[-1].body


async def test_the_system_prompt_is_apart_and_sampling_is_left_out(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    request = ASKED.model_copy(update={"temperature": 0.5})
    assert await sent(provider, server, request) == {
        "model": MODEL,
        "max_tokens": 8192,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    }


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("auto", "auto"), ("required", "any"), ("none", "none"), ("named", "tool")],
)
async def test_tool_choices_are_said_in_its_words(
    mode: str, kind: str, provider: BaseProvider, server: FakeModelServer
) -> None:
    choice = ToolChoice.model_validate({"mode": mode, "name": "look" if mode == "named" else None})
    request = ASKED.model_copy(
        update={"tools": (TOOL,), "tool_choice": choice, "parallel_tool_calls": False}
    )
    wire = (await sent(provider, server, request))["tool_choice"]
    assert wire["type"] == kind
    assert wire.get("name") == ("look" if mode == "named" else None)
    assert wire.get("disable_parallel_tool_use") is (None if mode == "none" else True)


async def test_all_results_of_a_turn_lead_one_user_message(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    own = ThinkingPart(text="hm", signature="sig", provider="anthropic")
    hidden = ThinkingPart(redacted="opaque", provider="anthropic")
    foreign = ThinkingPart(text="theirs", signature="x", provider="openai")
    calls = (ToolCallPart(id="f.a:0", name="look"), ToolCallPart(id="b", name="look"))
    blank = TextPart(text=" \n")
    first = ToolResultPart(call_id="f.a:0", name="look", text="one", images=(PIXEL,))
    second = ToolResultPart(call_id="b", name="look", text="", is_error=True)
    request = CompletionRequest(
        messages=(
            user("go"),
            Message(role="assistant", parts=(own, hidden, foreign, blank, *calls)),
            Message(role="tool", parts=(first,)),
            user("and now?"),
            Message(role="tool", parts=(second,)),
        ),
        tools=(TOOL,),
    )
    body = await sent(provider, server, request)
    roles = [m["role"] for m in body["messages"]]
    assert roles == ["user", "assistant", "user"]
    kinds = [b["type"] for b in body["messages"][1]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "tool_use", "tool_use"]
    results = body["messages"][2]["content"]
    assert [b["type"] for b in results] == ["tool_result", "tool_result", "text"]
    assert results[0]["tool_use_id"] == body["messages"][1]["content"][2]["id"] == "f_a_0"
    assert results[0]["content"][1]["source"]["data"] == "AAAA"
    assert results[1] == {"type": "tool_result", "tool_use_id": "b", "is_error": True}


async def test_past_calls_are_defined_even_where_no_tool_is_offered(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    call = ToolCallPart(id="a", name="look")
    result = ToolResultPart(call_id="a", name="look", text="one")
    messages = (
        user("go"),
        Message(role="assistant", parts=(call,)),
        Message(role="tool", parts=(result,)),
    )
    body = await sent(provider, server, CompletionRequest(messages=messages))
    assert [tool["name"] for tool in body["tools"]] == ["look"]
    assert body["tool_choice"] == {"type": "none"}


async def test_an_output_schema_is_a_format_without_what_the_service_refuses(
    provider: BaseProvider, server: FakeModelServer
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    body = await sent(provider, server, ASKED.model_copy(update={"output_schema": schema}))
    wire = body["output_config"]["format"]["schema"]
    assert wire["additionalProperties"] is False
    assert "minimum" not in wire["properties"]["n"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_calls_and_usage_are_read_and_go_back_unchanged(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    usage = ScriptedUsage(input=1329, output=40, cache_read=1322, cache_write=5, reasoning=8)
    calls = (ScriptedCall("look", {"at": "a very tall tree"}), ScriptedCall("look", ""))
    server.script = always(Answer("Wait.", calls, thinking="two looks, I think", usage=usage))
    request = ASKED.model_copy(update={"tools": (TOOL,)})
    if streamed:
        stream = provider.generate_stream(request, model=MODEL)
        answer = [chunk async for chunk in stream][-1].completion
    else:
        answer = await provider.generate_completion(request, model=MODEL)
    assert answer is not None
    signed = ThinkingPart(text="two looks, I think", signature="c2lnbmF0dXJl", provider="anthropic")
    assert answer.parts[:2] == (signed, TextPart(text="Wait."))
    assert [c.arguments for c in answer.tool_calls] == [{"at": "a very tall tree"}, {}]
    assert answer.usage == TokenUsage(
        input_tokens=1329,
        output_tokens=40,
        cache_read_tokens=1322,
        cache_write_tokens=5,
        reasoning_tokens=8,
    )
    followed = CompletionRequest(messages=(*ASKED.messages, answer.to_message(), user("so?")))
    body = await sent(provider, server, followed)
    block = body["messages"][1]["content"][0]
    assert block == {
        "type": "thinking",
        "thinking": "two looks, I think",
        "signature": "c2lnbmF0dXJl",
    }


@pytest.mark.parametrize("streamed", [False, True])
async def test_arguments_that_are_no_object_are_a_problem_told_to_the_model(
    streamed: bool, provider: BaseProvider, server: FakeModelServer
) -> None:
    server.script = always(Answer(tool_calls=(ScriptedCall("look", '{"a": '),), without_ids=True))
    if streamed:
        stream = provider.generate_stream(ASKED, model=MODEL)
        answer = [chunk async for chunk in stream][-1].completion
    else:
        answer = await provider.generate_completion(ASKED, model=MODEL)
    assert answer is not None
    (call,) = answer.tool_calls
    assert call.id
    assert call.arguments == {}
    assert "not valid JSON" in (call.arguments_error or "")
