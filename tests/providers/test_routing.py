"""Routes: strategies over the wire, fallbacks, capabilities, limits with a line, learning."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.completion import CompletionRequest, ToolDefinition
from core.errors import AllDeploymentsFailedError, ConfigError, ProviderRejectedError
from core.message import ImagePart, user
from core.ports import FailedTry, Headroom, Limiter, Reservation
from core.provider_settings import CapabilitySettings, ProviderSettings, RateLimits, RouteSettings
from core.settings import Settings
from core.usage import UsageEvent
from providers.admission import WaitLimits
from providers.cooldown import CooldownLimits
from providers.deployment import Deployment
from providers.factory import build_router, create_provider
from providers.prices import PriceBook
from providers.route import Route, Routing
from providers.router import DeploymentRouter, RouterLimits
from providers.waiting_line import WaitingLine
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest
from tests.fakes.scripts import always

ASKED = CompletionRequest(messages=(user("hello"),), timeout_seconds=20)
QUICK = RouterLimits(
    backoff_seconds=0.01,
    cooldown=CooldownLimits(unstated=0.05, failing=0.05),
    waits=WaitLimits(look_again=0.05),
)
SOL, LUNA, HAIKU = "openai:gpt-6-sol", "openai:gpt-6-luna", "anthropic:claude-haiku-5-5"
PICTURE = ImagePart(media_type="image/png", data="iVBORw0KGgo=")


@asynccontextmanager
async def routed(
    server: FakeModelServer, bounds: RouterLimits = QUICK, **settings: Any
) -> AsyncGenerator[DeploymentRouter]:
    keys = credentials(openai=server.openai_url, anthropic=server.anthropic_url)
    router = build_router(Settings(credentials=keys, **settings), limits=bounds)
    try:
        yield router
    finally:
        await router.close()


def route(*deployments: Any, **more: Any) -> RouteSettings:
    return RouteSettings.model_validate({"deployments": deployments, **more})


async def arrived(server: FakeModelServer, requests: int) -> None:
    for _ in range(2000):
        if len(server.requests) >= requests:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{len(server.requests)} requests instead of {requests}")


def models(server: FakeModelServer) -> Counter[str]:
    return Counter(request.model for request in server.requests)


async def test_round_robin_spreads_the_calls(server: FakeModelServer) -> None:
    routes = {"default": route(SOL, LUNA, HAIKU, strategy="round_robin")}
    async with routed(server, routes=routes) as router:
        for _ in range(6):
            await router.generate_completion(ASKED)
    assert set(models(server).values()) == {2}


async def test_weights_are_written_beside_the_deployments(server: FakeModelServer) -> None:
    heavy = {"deployment": LUNA, "weight": 9}
    routes = {"default": route(SOL, heavy, strategy="weighted", seed=5)}
    async with routed(server, routes=routes) as router:
        for _ in range(40):
            await router.generate_completion(ASKED)
    assert models(server)["gpt-6-luna"] > 30


async def test_least_cost_asks_the_cheaper_model(server: FakeModelServer) -> None:
    routes = {"default": route("openai:house-model", SOL, HAIKU, strategy="least_cost")}
    async with routed(server, routes=routes) as router:
        await router.generate_completion(ASKED)
    assert list(models(server)) == ["claude-haiku-5-5"]


async def test_a_route_falls_back_to_another_one(server: FakeModelServer) -> None:
    def script(request: RecordedRequest) -> Answer | Fault:
        return Fault(status=503) if request.protocol == "openai" else Answer(text="saved")

    server.script = script
    routes = {
        "default": route(SOL, LUNA, fallbacks=["spare"]),
        "spare": route(HAIKU, fallbacks=["default"]),
    }
    failed: list[FailedTry] = []
    async with routed(server, routes=routes) as router:
        answer = await router.generate_completion(ASKED, on_failed_try=failed.append)
        assert router.describe()["default"] == (SOL, LUNA)
    assert (answer.text, answer.deployment) == ("saved", HAIKU)
    assert [f.deployment for f in failed] == [SOL, LUNA]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"routes": {"r": route(SOL, fallbacks=["gone"])}}, r"\[routes.r\].*'gone'"),
        ({"limits": {"opnai": RateLimits(rpm=1)}}, r"\[limits\].*'opnai'"),
        ({"capabilities": {"x:y": CapabilitySettings()}}, r"\[capabilities\].*'x'"),
    ],
    ids=["fallback", "limit", "capability"],
)
async def test_a_name_that_means_nothing_is_an_error(
    settings: dict[str, Any], message: str, server: FakeModelServer
) -> None:
    with pytest.raises(ConfigError, match=message):
        async with routed(server, **settings):
            pass


async def test_an_image_goes_to_a_model_that_sees(server: FakeModelServer) -> None:
    request = ASKED.model_copy(update={"messages": (user("what is it?", PICTURE),)})
    blind = {SOL: CapabilitySettings(vision=False)}
    routes = {"default": route(SOL, HAIKU)}
    async with routed(server, routes=routes, capabilities=blind) as router:
        assert (await router.generate_completion(request)).deployment == HAIKU
        assert (await router.generate_completion(ASKED)).deployment == SOL


async def test_tools_that_no_model_takes_are_refused_before_anyone_is_asked(
    server: FakeModelServer,
) -> None:
    tool = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
    none = {"openai": CapabilitySettings(tools=False)}
    async with routed(server, routes={"default": route(SOL)}, capabilities=none) as router:
        with pytest.raises(ProviderRejectedError, match="gpt-6-sol cannot take tools"):
            await router.generate_completion(ASKED.model_copy(update={"tools": (tool,)}))
    assert server.requests == []


async def test_a_deployment_at_its_limit_is_left_out_before_it_refuses(
    server: FakeModelServer, tmp_path: Path
) -> None:
    common: dict[str, Any] = {
        "routes": {"default": route(SOL, HAIKU)},
        "limits": {SOL: RateLimits(rpm=2)},
    }
    async with routed(server, home=tmp_path, **common) as router:
        for _ in range(5):
            await router.generate_completion(ASKED)
        states = {s.deployment: s for s in await router.snapshot()}
    assert models(server) == {"gpt-6-sol": 2, "claude-haiku-5-5": 3}
    assert (states[SOL].requests_left, states[HAIKU].requests_left) == (0, None)


async def test_a_wait_beyond_all_patience_is_an_error_that_says_how_long(
    server: FakeModelServer, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"routes": {"default": route(SOL)}, "limits": {SOL: RateLimits(rpm=1)}}
    limits = RouterLimits(waits=WaitLimits(limits=5))
    async with routed(server, limits, home=tmp_path, **common) as router:
        await router.generate_completion(ASKED)
        with pytest.raises(AllDeploymentsFailedError, match="at its rate limit") as caught:
            await router.generate_completion(ASKED)
    assert caught.value.retryable
    assert 50 < caught.value.details["retry_after_seconds"] <= 61


class Turnstile(Limiter):
    """Lets one call through for every ``open``."""

    def __init__(self) -> None:
        self.free = 0

    async def reserve(self, deployment: str, tokens: int) -> Reservation:
        wait = 0.0 if self.free else 0.01
        self.free -= wait == 0
        return Reservation(deployment, tokens, wait_seconds=wait)

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        return

    async def headroom(self, deployment: str) -> Headroom:
        return Headroom(requests=self.free)


async def test_those_who_wait_are_served_by_priority_then_in_order(server: FakeModelServer) -> None:
    gate = Turnstile()
    settings = ProviderSettings(kind="openai")
    provider = create_provider("openai", settings, credentials(openai=server.openai_url))
    plain = Route("default", (Deployment("openai", "gpt-6-sol"),))
    routes = {"default": plain, "urgent": replace(plain, name="urgent", queue_priority=5)}
    routing = Routing(routes, {"openai": "gpt-6-sol"}, gate)
    router = DeploymentRouter({"openai": provider}, routing, PriceBook({}), limits=QUICK)

    async def ask(name: str, text: str) -> None:
        request = CompletionRequest(messages=(user(text),), route=name)
        await router.generate_completion(request)

    async with asyncio.TaskGroup() as group:
        for name, text in [("default", "1"), ("default", "2"), ("urgent", "3"), ("default", "4")]:
            group.create_task(ask(name, text))
            await asyncio.sleep(0)
        for served in range(1, 5):
            gate.free += 1
            await arrived(server, served)
    await router.close()
    assert [r.last_text for r in server.requests] == ["3", "1", "2", "4"]


async def test_in_line_a_deployment_belongs_to_the_first_who_wants_it() -> None:
    one, two, three = (Deployment("p", str(n)) for n in range(3))
    line = WaitingLine()
    with line.place(0, [one, two]) as first, line.place(0, [two, three]) as second:
        assert line.free_for(first) == [one, two]
        assert line.free_for(second) == [three]
        assert line.free_for_newcomer(0, [one, three]) == []
        assert line.free_for_newcomer(1, [one, three]) == [one, three]
        assert line.waiting_for(two.name) == 2
    assert line.free_for_newcomer(0, [one]) == [one]


def row(deployment: str, seconds_ago: float, **more: Any) -> UsageEvent:
    return UsageEvent(
        event_id=f"{deployment}{seconds_ago}",
        ts=datetime.now(UTC) - timedelta(seconds=seconds_ago),
        kind="model_call",
        run_key="r",
        operation_name="chat",
        deployment=deployment,
        **more,
    )


async def test_a_new_process_knows_what_the_last_one_learned(server: FakeModelServer) -> None:
    rows = [row(SOL, 20, outcome="error", error_type="AuthenticationError")]
    rows += [row(LUNA, 5 + n, duration_seconds=9.0, output_tokens=50) for n in range(5)]
    rows += [row(HAIKU, 5 + n, duration_seconds=0.9, output_tokens=50) for n in range(5)]
    rows += [row(HAIKU, 3, outcome="error", error_type="OverloadedError", replayed=True)]
    rows += [row(HAIKU, 7200, outcome="error", error_type="AuthenticationError")]
    rows += [row(HAIKU, 2, outcome="error", error_type="HedgedAway")]
    routes = {"default": route(SOL, LUNA, HAIKU, strategy="latency", seed=1)}
    async with routed(server, routes=routes) as router:
        router.warm_start(rows)
        states = {s.deployment: s for s in await router.snapshot()}
        answer = await router.generate_completion(ASKED)
    assert (states[SOL].breaker, states[SOL].reason) == ("open", "AuthenticationError")
    assert 275 < states[SOL].open_seconds < 285
    assert states[SOL].error_rate is None, "a wrong key is not the deployment's error"
    assert (states[HAIKU].breaker, states[HAIKU].error_rate) == ("closed", 0.0)
    assert states[LUNA].first_token_seconds == pytest.approx(9.0)
    assert answer.deployment == HAIKU


async def test_a_snapshot_tells_who_is_in_trouble_and_what_is_under_way(
    server: FakeModelServer,
) -> None:
    def script(request: RecordedRequest) -> Answer | Fault:
        slow = Answer(text="slow", latency_seconds=0.3)
        return Fault(status=429, headers={"retry-after": "60"}) if request.index == 0 else slow

    server.script = script
    async with routed(server, routes={"default": route(SOL, HAIKU)}) as router:
        asking = asyncio.create_task(router.generate_completion(ASKED))
        await arrived(server, 2)
        during = {s.deployment: s for s in await router.snapshot()}
        await asking
        after = {s.deployment: s for s in await router.snapshot()}
    assert (during[SOL].breaker, during[SOL].error_rate) == ("open", 1.0)
    assert (during[HAIKU].in_flight, after[HAIKU].in_flight) == (1, 0)
    assert after[HAIKU].first_token_seconds is not None


async def test_one_call_probes_while_the_others_wait_for_it(server: FakeModelServer) -> None:
    server.script = always(Fault(status=429, headers={"retry-after-ms": "100"}))
    async with routed(server, routes={"default": route(SOL)}) as router:
        with pytest.raises(AllDeploymentsFailedError):
            await router.generate_completion(ASKED)
        before = len(server.requests)
        server.script = always(Answer(text="back", latency_seconds=0.2))
        calls = [asyncio.create_task(router.generate_completion(ASKED)) for _ in range(10)]
        await arrived(server, before + 1)
        assert len(server.requests) == before + 1
        assert {a.text for a in await asyncio.gather(*calls)} == {"back"}
    probe, *rest = server.requests[before:]
    assert probe.ended_monotonic is not None
    assert all(r.started_monotonic >= probe.ended_monotonic for r in rest)
