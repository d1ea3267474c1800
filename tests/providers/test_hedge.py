"""A second deployment asked when the first is slow, and who pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from core.completion import CompletionRequest
from core.errors import AllDeploymentsFailedError, ProviderRejectedError
from core.message import Message, ThinkingPart, user
from core.ports import FailedTry
from core.provider_settings import RouteSettings
from core.settings import Settings
from providers.factory import build_router
from providers.router import DeploymentRouter
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest, Script

FIRST, SECOND = "openai:gpt-6-sol", "anthropic:claude-haiku-5-5"
ASKED = CompletionRequest(messages=(user("hello"),), timeout_seconds=20)
SLOW, QUICK = Answer(text="slow", latency_seconds=5), Answer(text="quick")


@asynccontextmanager
async def hedged(
    server: FakeModelServer, after: float | Literal["p95"] = 0.05
) -> AsyncGenerator[DeploymentRouter]:
    keys = credentials(openai=server.openai_url, anthropic=server.anthropic_url)
    route = RouteSettings(deployments=(FIRST, SECOND), hedge_after_seconds=after)
    router = build_router(Settings(credentials=keys, routes={"default": route}))
    try:
        yield router
    finally:
        await router.close()


def by_protocol(openai: Answer | Fault, anthropic: Answer | Fault) -> Script:
    def script(request: RecordedRequest) -> Answer | Fault:
        return openai if request.protocol == "openai" else anthropic

    return script


async def gone(request: RecordedRequest) -> bool:
    for _ in range(200):
        if request.outcome == "client_gone":
            return True
        await asyncio.sleep(0.01)
    return False


async def test_the_second_answers_and_the_first_is_cancelled_and_reported(
    server: FakeModelServer,
) -> None:
    server.script = by_protocol(SLOW, QUICK)
    failed: list[FailedTry] = []
    async with hedged(server) as router:
        answer = await router.generate_completion(ASKED, on_failed_try=failed.append)
        assert await gone(server.requests[0])
        states = {s.deployment: s for s in await router.snapshot()}
    assert (answer.text, answer.deployment) == ("quick", SECOND)
    (lost,) = failed
    assert (lost.deployment, lost.error_type, lost.try_index) == (FIRST, "HedgedAway", 0)
    assert lost.duration_seconds >= 0.05
    assert [s.in_flight for s in states.values()] == [0, 0]
    assert states[FIRST].error_rate is None, "slow is not broken"


async def test_the_first_may_still_win(server: FakeModelServer) -> None:
    server.script = by_protocol(Answer(text="first", latency_seconds=0.3), SLOW)
    failed: list[FailedTry] = []
    async with hedged(server) as router:
        answer = await router.generate_completion(ASKED, on_failed_try=failed.append)
    assert answer.text == "first"
    assert [(f.deployment, f.error_type, f.try_index) for f in failed] == [
        (SECOND, "HedgedAway", 1)
    ]


async def test_a_quick_answer_is_asked_for_once(server: FakeModelServer) -> None:
    async with hedged(server, after=5) as router:
        await router.generate_completion(ASKED)
    assert len(server.requests) == 1


async def test_a_second_that_fails_loses_nothing(server: FakeModelServer) -> None:
    server.script = by_protocol(Answer(text="first", latency_seconds=0.4), Fault(status=500))
    failed: list[FailedTry] = []
    async with hedged(server) as router:
        answer = await router.generate_completion(ASKED, on_failed_try=failed.append)
    assert answer.text == "first"
    assert [f.error_type for f in failed] == ["OverloadedError"]


async def test_both_may_fail(server: FakeModelServer) -> None:
    down = Fault(status=500, latency_seconds=0.2)
    server.script = by_protocol(down, down)
    async with hedged(server) as router:
        with pytest.raises(AllDeploymentsFailedError):
            await router.generate_completion(ASKED)
    assert len(server.requests) == 2


async def test_a_refusal_ends_both(server: FakeModelServer) -> None:
    server.script = by_protocol(SLOW, Fault(status=400))
    async with hedged(server) as router:
        with pytest.raises(ProviderRejectedError):
            await router.generate_completion(ASKED)
        assert await gone(server.requests[0])
        assert [s.in_flight for s in await router.snapshot()] == [0, 0]


async def test_a_caller_who_goes_away_leaves_nothing_running(server: FakeModelServer) -> None:
    server.script = by_protocol(SLOW, SLOW)
    failed: list[FailedTry] = []
    async with hedged(server) as router:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await router.generate_completion(ASKED, on_failed_try=failed.append)
        assert [await gone(request) for request in server.requests] == [True, True]
        assert [s.in_flight for s in await router.snapshot()] == [0, 0]
    assert failed == []


async def test_a_tool_loop_is_never_hedged(server: FakeModelServer) -> None:
    server.script = by_protocol(Answer(text="own", latency_seconds=0.3), QUICK)
    thought = ThinkingPart(text="hm", signature="c2ln", provider="openai")
    messages = (user("a"), Message(role="assistant", parts=(thought,)), user("b"))
    async with hedged(server) as router:
        answer = await router.generate_completion(CompletionRequest(messages=messages))
    assert (answer.text, len(server.requests)) == ("own", 1)


async def test_second_asks_are_a_tenth_of_the_calls(server: FakeModelServer) -> None:
    server.script = by_protocol(Answer(text="a", latency_seconds=0.1), SLOW)
    async with hedged(server, after=0.01) as router:
        for _ in range(40):
            await router.generate_completion(ASKED)
    second = [r for r in server.requests if r.protocol == "anthropic"]
    assert 3 <= len(second) <= 5


async def test_past_the_95th_percentile_needs_enough_answers_to_know_it(
    server: FakeModelServer,
) -> None:
    server.script = by_protocol(Answer(text="usual", latency_seconds=0.02), QUICK)
    async with hedged(server, after="p95") as router:
        for _ in range(20):
            await router.generate_completion(ASKED)
        before = len(server.requests)
        server.script = by_protocol(SLOW, QUICK)
        answer = await router.generate_completion(ASKED)
    assert before <= 22
    assert answer.text == "quick"
