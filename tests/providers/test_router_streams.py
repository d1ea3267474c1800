"""Streams through a router: failover before the first token, the truth after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from core.completion import Chunk, CompletionRequest
from core.errors import AllDeploymentsFailedError, ProviderRejectedError, TruncatedStreamError
from core.message import user
from core.ports import FailedTry
from core.provider_settings import RateLimits, RouteSettings
from core.settings import Settings
from providers.factory import build_router
from providers.router import DeploymentRouter
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest, Script, ScriptedUsage
from tests.fakes.scripts import always

FIRST, SECOND = "openai:gpt-6-sol", "anthropic:claude-haiku-5-5"
ASKED = CompletionRequest(messages=(user("hello"),), timeout_seconds=20, max_output_tokens=50)
LONG = Answer(text="a long answer, " * 8, usage=ScriptedUsage(input=100, output=20))


@asynccontextmanager
async def routed(
    server: FakeModelServer, hedge_after: float | None = None, **more: object
) -> AsyncGenerator[DeploymentRouter]:
    keys = credentials(openai=server.openai_url, anthropic=server.anthropic_url)
    route = RouteSettings(deployments=(FIRST, SECOND), hedge_after_seconds=hedge_after)
    settings = Settings.model_validate({"credentials": keys, "routes": {"default": route}, **more})
    router = build_router(settings)
    try:
        yield router
    finally:
        await router.close()


def by_protocol(openai: Answer | Fault, anthropic: Answer | Fault) -> Script:
    def script(request: RecordedRequest) -> Answer | Fault:
        return openai if request.protocol == "openai" else anthropic

    return script


async def read(router: DeploymentRouter, failed: list[FailedTry] | None = None) -> list[Chunk]:
    note = None if failed is None else failed.append
    return [chunk async for chunk in router.generate_stream(ASKED, on_failed_try=note)]


async def read_into(said: list[str], router: DeploymentRouter, failed: list[FailedTry]) -> None:
    async for chunk in router.generate_stream(ASKED, on_failed_try=failed.append):
        said.append(chunk.text)


async def test_the_last_chunk_has_the_whole_answer_and_its_cost(server: FakeModelServer) -> None:
    server.script = always(LONG)
    async with routed(server) as router:
        *pieces, last = await read(router)
        state = {s.deployment: s for s in await router.snapshot()}[FIRST]
    assert len(pieces) > 1
    assert last.completion is not None
    assert "".join(p.text for p in pieces) == last.completion.text == LONG.text
    assert last.completion.cost_usd == (100 * Decimal(2) + 20 * Decimal(10)) / 1_000_000
    assert last.completion.time_to_first_token_seconds is not None
    assert (state.in_flight, state.error_rate) == (0, 0)
    assert state.first_token_seconds is not None


async def test_before_the_first_token_the_next_one_is_asked(server: FakeModelServer) -> None:
    server.script = by_protocol(Fault(status=503), LONG)
    failed: list[FailedTry] = []
    async with routed(server) as router:
        last = (await read(router, failed))[-1].completion
    assert last is not None
    assert (last.deployment, last.try_index) == (SECOND, 1)
    assert [(f.deployment, f.error_type) for f in failed] == [(FIRST, "OverloadedError")]


@pytest.mark.parametrize("kind", ["cut_midway", "early_end", "stream_error"])
async def test_after_the_first_token_nothing_is_tried_again(
    server: FakeModelServer, kind: str
) -> None:
    broken = Fault(kind=kind)  # pyright: ignore[reportArgumentType]  one of its literals
    server.script = by_protocol(broken, LONG)
    failed: list[FailedTry] = []
    said: list[str] = []
    async with routed(server) as router:
        with pytest.raises(TruncatedStreamError):
            await read_into(said, router, failed)
        states = {s.deployment: s for s in await router.snapshot()}
    assert "".join(said)
    assert len(server.requests) == 1
    assert len(failed) == 1
    assert (states[FIRST].in_flight, states[FIRST].error_rate) == (0, 1)


async def test_a_refusal_is_not_asked_of_another(server: FakeModelServer) -> None:
    server.script = always(Fault(status=400))
    async with routed(server) as router:
        with pytest.raises(ProviderRejectedError):
            await read(router)
    assert len(server.requests) == 1


async def test_where_nobody_answers_it_says_so(server: FakeModelServer) -> None:
    server.script = always(Fault(status=500))
    async with routed(server) as router:
        with pytest.raises(AllDeploymentsFailedError):
            await read(router)
        assert [s.in_flight for s in await router.snapshot()] == [0, 0]


async def test_a_reader_who_leaves_early_settles_everything(server: FakeModelServer) -> None:
    server.script = always(LONG)
    failed: list[FailedTry] = []
    async with routed(server, limits={"openai": RateLimits(tpm=10**6)}) as router:
        stream = router.generate_stream(ASKED, on_failed_try=failed.append)
        assert (await anext(stream)).text
        await stream.aclose()
        state = {s.deployment: s for s in await router.snapshot()}[FIRST]
    assert (state.in_flight, state.breaker, state.error_rate) == (0, "closed", 0)
    assert [(f.deployment, f.error_type, f.given_up) for f in failed] == [
        (FIRST, "Abandoned", True)
    ]


async def test_a_slow_first_token_is_hedged(server: FakeModelServer) -> None:
    server.script = by_protocol(Answer(text="slow", latency_seconds=5), LONG)
    failed: list[FailedTry] = []
    async with routed(server, hedge_after=0.05) as router:
        last = (await read(router, failed))[-1].completion
        assert [s.in_flight for s in await router.snapshot()] == [0, 0]
    assert last is not None
    assert (last.deployment, last.text) == (SECOND, LONG.text)
    assert [(f.deployment, f.error_type, f.try_index) for f in failed] == [(FIRST, "HedgedAway", 0)]


async def test_a_caller_who_is_cancelled_leaves_nothing_open(server: FakeModelServer) -> None:
    server.script = always(Answer(text="slow", latency_seconds=5))
    async with routed(server, hedge_after=0.05) as router:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await read(router)
        assert [s.in_flight for s in await router.snapshot()] == [0, 0]


async def test_tokens_are_estimated_or_asked_for_and_it_says_which(server: FakeModelServer) -> None:
    async with routed(server) as router:
        guess = await router.count_tokens(ASKED)
        unasked = await router.count_tokens(ASKED, ask_provider=True)
        counted = await router.count_tokens(
            ASKED.model_copy(update={"route": SECOND}), ask_provider=True
        )
    assert (guess.deployment, guess.counted_by) == (FIRST, "estimate")
    assert unasked.counted_by == "estimate", "chat completions have no counter"
    assert (counted.deployment, counted.counted_by) == (SECOND, "provider")
    assert [request.path for request in server.requests] == ["/v1/messages/count_tokens"]


async def test_an_estimate_is_at_the_dearest_price_that_is_known(server: FakeModelServer) -> None:
    async with routed(server) as router:
        both = router.estimate_call(ASKED)
        cheap = router.estimate_call(ASKED.model_copy(update={"route": SECOND}))
    assert both.output_tokens == 50
    assert both.cost_usd is not None
    assert cheap.cost_usd is not None
    assert both.cost_usd > cheap.cost_usd > 0
