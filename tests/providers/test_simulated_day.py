"""Three servers, fifty callers; one server turns slow, dies and comes back: no call fails."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from core.completion import CompletionRequest
from core.message import user
from core.provider_settings import ProviderSettings, RouteSettings, StrategyName
from core.settings import Settings
from providers.cooldown import CooldownLimits
from providers.factory import build_router
from providers.health import LearningRates
from providers.router import DeploymentRouter, RouterLimits
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest

CALLERS = 50
USUAL_SECONDS = 0.1
NAMES = ("north", "south", "east")
LIMITS = RouterLimits(
    cooldown=CooldownLimits(failing=0.3, failing_longest=1.0),
    rates=LearningRates(speed_half_life=1.0),
)
REQUEST = CompletionRequest(messages=(user("hello"),), timeout_seconds=10)


@dataclass(slots=True)
class Weather:
    """What the server ``north`` is like; the others are always well."""

    now: Answer | Fault = field(default_factory=lambda: Answer(text="hi"))

    def north(self, _: RecordedRequest) -> Answer | Fault:
        return self.now


@dataclass(slots=True)
class Callers:
    """Keep calling until told to stop."""

    router: DeploymentRouter
    answers: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list[float])
    over: bool = False

    async def call_on(self) -> None:
        while not self.over:
            started = time.monotonic()
            answer = await self.router.generate_completion(REQUEST)
            self.answers[answer.provider] += 1
            self.seconds.append(time.monotonic() - started)

    def served_by_north(self, more: int) -> Callable[[], bool]:
        wanted = self.answers["north"] + more
        return lambda: self.answers["north"] >= wanted

    async def until(self, condition: Callable[[], bool], *, within: float = 30.0) -> float:
        """Seconds until something is so."""
        started = time.monotonic()
        for _ in range(int(within / 0.02)):
            if condition():
                return time.monotonic() - started
            await asyncio.sleep(0.02)
        return pytest.fail(f"not so within {within:g} s: {dict(self.answers)}")


@asynccontextmanager
async def three_servers(
    weather: Weather, strategy: StrategyName
) -> AsyncGenerator[tuple[DeploymentRouter, dict[str, FakeModelServer]]]:
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(
                FakeModelServer(
                    weather.north if name == "north" else lambda _: Answer(text="hi"),
                    latency_seconds=USUAL_SECONDS,
                )
            )
            for name in NAMES
        }
        providers = {
            name: ProviderSettings(kind="openai", model="m", base_url=server.openai_url)
            for name, server in servers.items()
        }
        route = RouteSettings(deployments=NAMES, strategy=strategy, seed=11)
        keys = credentials(openai=servers["north"].openai_url)
        settings = Settings(credentials=keys, providers=providers, routes={"default": route})
        router = build_router(settings, limits=LIMITS)
        yield router, servers
        await router.close()


@pytest.mark.parametrize("strategy", ["latency", "adaptive", "round_robin"])
async def test_no_call_fails_while_a_server_slows_dies_and_recovers(
    strategy: StrategyName, capsys: pytest.CaptureFixture[str]
) -> None:
    weather = Weather()
    async with three_servers(weather, strategy) as (router, servers):
        callers = Callers(router)
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(callers.call_on())
            story = await a_day(weather, callers, servers)
            callers.over = True
    assert callers.answers.total() > 10 * CALLERS
    assert set(callers.answers) == set(NAMES)
    slowest = sorted(callers.seconds)[int(0.99 * len(callers.seconds))]
    story.append(f"{callers.answers.total()} calls, none failed, p99 {slowest:.2f} s")
    with capsys.disabled():
        sys.stdout.write(f"\n{strategy}: {'; '.join(story)}\n")


async def a_day(
    weather: Weather, callers: Callers, servers: dict[str, FakeModelServer]
) -> list[str]:
    """What happens to ``north``, and what the router makes of it."""
    await callers.until(lambda: callers.answers.total() >= 4 * CALLERS)
    story = [f"well: north has {await norths_share(servers):.0%}"]
    weather.now = Answer(text="hi", latency_seconds=10 * USUAL_SECONDS)
    await asyncio.sleep(1.0)
    story.append(f"10x slower, 1 s later: {await norths_share(servers):.0%}")
    weather.now = Fault("cut_before")
    story.append(f"dead: left after {await seconds_until_open(callers.router):.2f} s")
    story.append(f"and has {await norths_share(servers):.0%}")
    weather.now = Answer(text="hi")
    back = await callers.until(callers.served_by_north(1))
    settled = await callers.until(callers.served_by_north(CALLERS))
    story.append(f"well again: first answer after {back:.2f} s, 50 more {settled:.2f} s")
    return story


async def norths_share(servers: dict[str, FakeModelServer]) -> float:
    """Of the requests that arrive in the next half second."""
    before = {name: len(server.requests) for name, server in servers.items()}
    await asyncio.sleep(0.5)
    came = {name: len(server.requests) - before[name] for name, server in servers.items()}
    return came["north"] / max(1, sum(came.values()))


async def seconds_until_open(router: DeploymentRouter) -> float:
    started = time.monotonic()
    for _ in range(1500):
        states = {s.deployment: s.breaker for s in await router.snapshot()}
        if states["north:m"] == "open":
            return time.monotonic() - started
        await asyncio.sleep(0.02)
    return pytest.fail("a dead server is still asked")
