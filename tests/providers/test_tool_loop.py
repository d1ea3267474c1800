"""A tool loop that loses its provider on the way, and one that keeps it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import pytest

from core.completion import Completion, CompletionRequest, ToolDefinition
from core.message import Message, ThinkingPart, ToolResultPart, user
from core.provider_settings import ProviderKind
from core.settings import Settings
from providers.factory import build_router
from providers.router import DeploymentRouter
from tests.fakes.credentials import credentials
from tests.fakes.kinds import settings_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall

KINDS: tuple[ProviderKind, ...] = ("openai", "anthropic", "bedrock")
VALID_IDS: Mapping[str, str] = {
    "openai": r".+",
    "anthropic": r"[a-zA-Z0-9_-]+",
    "bedrock": r"[a-zA-Z0-9_-]{1,64}",
}
IDS: Mapping[str, str] = {
    # What servers that speak OpenAI's protocol are known to make.
    "openai": "functions.look:0|" + "fc_0123456789abcdef" * 4,
    "anthropic": "toolu_01A09q90qw90lq917835lq9",
    "bedrock": "tooluse_W9DaUFg4Tj2cRPpndqxWSg",
}
TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})


@dataclass
class Cast:
    """Models that think and call two tools until the last turn; those in ``dead`` do not answer."""

    turns: int
    dead: set[str] = field(default_factory=set[str])
    answered: list[RecordedRequest] = field(default_factory=list[RecordedRequest])

    def __call__(self, request: RecordedRequest) -> Answer | Fault:
        if request.protocol in self.dead:
            return Fault(status=503)
        self.answered.append(request)
        if len(self.answered) == self.turns:
            return Answer(text="done")
        call_id = f"{IDS[request.protocol]}{len(self.answered)}"
        calls = (ScriptedCall("look", {"at": 1}, id=call_id), ScriptedCall("look", {"at": 2}))
        said = f"thought of {request.protocol}"
        return Answer("Wait.", calls, thinking=said, signature=f"signed by {request.protocol}")


@asynccontextmanager
async def routed(
    order: tuple[ProviderKind, ...], server: FakeModelServer
) -> AsyncGenerator[DeploymentRouter]:
    providers = {kind: settings_of(kind, server) for kind in order}
    router = build_router(Settings(credentials=credentials(), providers=providers))
    yield router
    await router.close()


def followed(request: CompletionRequest, answer: Completion) -> CompletionRequest:
    """The next turn's request: every call of the answer with its result."""
    results = tuple(
        ToolResultPart(call_id=c.id, name=c.name, text=f"result {c.arguments['at']}")
        for c in answer.tool_calls
    )
    turn = (answer.to_message(), Message(role="tool", parts=results))
    return request.model_copy(update={"messages": (*request.messages, *turn)})


def blocks(request: RecordedRequest) -> Iterator[dict[str, Any]]:
    for message in request.messages:
        content = message.get("content")
        yield from content if isinstance(content, list) else ()


def ids(request: RecordedRequest) -> tuple[list[str], list[str]]:
    """The ids of the calls of a conversation, and those that its results refer to."""
    calls: list[str] = []
    results: list[str] = []
    for message in request.messages:
        made: list[dict[str, Any]] = message.get("tool_calls") or []
        calls += [call["id"] for call in made]
        results += [message["tool_call_id"]] if "tool_call_id" in message else []
    for block in blocks(request):
        if block.get("type") == "tool_use" or "toolUse" in block:
            calls.append(block.get("id") or block["toolUse"]["toolUseId"])
        elif block.get("type") == "tool_result" or "toolResult" in block:
            results.append(block.get("tool_use_id") or block["toolResult"]["toolUseId"])
    return calls, results


@pytest.mark.parametrize("order", list(permutations(KINDS)), ids="-".join)
async def test_a_loop_that_loses_one_provider_after_the_other_is_finished_by_the_last(
    order: tuple[ProviderKind, ...], server: FakeModelServer
) -> None:
    server.script = cast = Cast(turns=4)
    request = CompletionRequest(messages=(user("look around"),), tools=(TOOL,))
    makers: list[str] = []
    async with routed(order, server) as router:
        for lost in ((), order[:1], order[:2], order[:2]):
            cast.dead.update(lost)
            answer = await router.generate_completion(request)
            makers.append(answer.provider)
            request = followed(request, answer)
    assert answer.text == "done"
    assert makers == [*order, order[-1]]
    for turn, asked in enumerate(cast.answered):
        calls, results = ids(asked)
        assert calls == results
        assert len(set(calls)) == len(calls) == 2 * turn
        assert all(re.fullmatch(VALID_IDS[asked.protocol], one) for one in calls)
        for other in set(KINDS) - {asked.protocol}:
            assert f"thought of {other}" not in asked.text
            assert f"signed by {other}" not in asked.text
        results_kept = [f"result {at}" in asked.text for at in (1, 2)]
        assert results_kept == [turn > 0] * 2


@pytest.mark.parametrize("maker", KINDS)
async def test_a_loop_stays_where_it_began_while_that_provider_lives(
    maker: ProviderKind, server: FakeModelServer
) -> None:
    others: tuple[ProviderKind, ...] = tuple(kind for kind in KINDS if kind != maker)
    server.script = cast = Cast(turns=3, dead=set(others))
    request = CompletionRequest(messages=(user("look around"),), tools=(TOOL,))
    async with routed((*others, maker), server) as router:
        answer = await router.generate_completion(request)
    assert any(isinstance(part, ThinkingPart) for part in answer.parts)
    cast.dead.clear()
    # A new router, as after a resume, has no memory and no grudge: only the conversation tells.
    async with routed((*others, maker), server) as router:
        for _ in range(2):
            request = followed(request, answer)
            answer = await router.generate_completion(request)
    assert [asked.protocol for asked in cast.answered] == [maker] * 3
    if maker != "openai":
        # OpenAI's own models do not show their thinking over this protocol.
        assert f"thought of {maker}" in cast.answered[-1].text
        assert f"signed by {maker}" in cast.answered[-1].text
