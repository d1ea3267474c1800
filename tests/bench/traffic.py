"""How a router shares traffic while one of three servers turns slow, dies and comes back.

``python -m tests.bench.traffic`` lives through such a day, prints what it measured and draws
docs/images/traffic-share.png.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "traffic-share.png"
CALLERS = 50
USUAL_SECONDS = 0.1
NAMES = ("north", "south", "east")
STRATEGY: StrategyName = "latency"
LIMITS = RouterLimits(
    cooldown=CooldownLimits(failing=0.3, failing_longest=1.0),
    rates=LearningRates(speed_half_life=1.0),
)
REQUEST = CompletionRequest(messages=(user("hello"),), timeout_seconds=10)
BIN_SECONDS = 0.5


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

    @property
    def p99_seconds(self) -> float:
        return sorted(self.seconds)[int(0.99 * len(self.seconds))]

    def served_by_north(self, more: int) -> Callable[[], bool]:
        wanted = self.answers["north"] + more
        return lambda: self.answers["north"] >= wanted


@dataclass(frozen=True, slots=True)
class Day:
    """Times in seconds, shares of all requests in each half second.

    ``moments`` are what happened when, on the monotonic clock.
    """

    well_share: float
    slow_share: float
    left_after: float
    dead_share: float
    back_after: float
    settled_after: float
    moments: tuple[tuple[str, float], ...]

    def tell(self) -> str:
        return (
            f"well: north has {self.well_share:.0%}; 10x slower, 1 s later: {self.slow_share:.0%}; "
            f"dead: left after {self.left_after:.2f} s and has {self.dead_share:.0%}; well again: "
            f"first answer after {self.back_after:.2f} s, 50 more {self.settled_after:.2f} s"
        )


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


async def live_through(
    strategy: StrategyName,
) -> tuple[Day, Callers, dict[str, FakeModelServer]]:
    """Fifty callers through the whole day; raises what any call raises."""
    weather = Weather()
    async with three_servers(weather, strategy) as (router, servers):
        callers = Callers(router)
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(callers.call_on())
            day = await a_day(weather, callers, servers)
            callers.over = True
    return day, callers, servers


async def a_day(weather: Weather, callers: Callers, servers: dict[str, FakeModelServer]) -> Day:
    """What happens to ``north``, and what the router makes of it."""
    await until(lambda: callers.answers.total() >= 4 * CALLERS)
    began = time.monotonic()
    well = await norths_share(servers)
    slow_at, weather.now = time.monotonic(), Answer(text="hi", latency_seconds=10 * USUAL_SECONDS)
    await asyncio.sleep(1.0)
    slow = await norths_share(servers)
    dead_at, weather.now = time.monotonic(), Fault("cut_before")
    left = await seconds_until_open(callers.router)
    dead = await norths_share(servers)
    well_at, weather.now = time.monotonic(), Answer(text="hi")
    back = await until(callers.served_by_north(1))
    settled = await until(callers.served_by_north(CALLERS))
    names = ("begin", "10x slower", "dead", "well again", "end")
    await norths_share(servers)
    moments = zip(names, (began, slow_at, dead_at, well_at, time.monotonic()), strict=True)
    return Day(well, slow, left, dead, back, settled, tuple(moments))


async def until(condition: Callable[[], bool], *, within: float = 30.0) -> float:
    """Seconds until something is so. Raises TimeoutError."""
    started = time.monotonic()
    for _ in range(int(within / 0.02)):
        if condition():
            return time.monotonic() - started
        await asyncio.sleep(0.02)
    raise TimeoutError(f"not so within {within:g} s")


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
    raise TimeoutError("a dead server is still asked")


def shares(day: Day, servers: dict[str, FakeModelServer]) -> list[dict[str, Any]]:
    """The share of each server in the requests of every half second."""
    began, ended = day.moments[0][1], day.moments[-1][1]
    counts: Counter[tuple[int, str]] = Counter()
    for name, server in servers.items():
        for request in server.requests:
            if began <= request.started_monotonic < ended:
                counts[int((request.started_monotonic - began) / BIN_SECONDS), name] += 1
    rows: list[dict[str, Any]] = []
    for number in range(int((ended - began) / BIN_SECONDS)):
        whole = sum(counts[number, name] for name in NAMES) or 1
        second = number * BIN_SECONDS
        rows += [
            {
                "second": second,
                "server": name,
                "share": counts[number, name] / whole,
                "place": place,
            }
            for place, name in enumerate(NAMES)
        ]
    return rows


def draw(data: Path, picture: Path) -> None:
    """Of what ``main`` has written down; in a process of its own, for what drawing imports."""
    import altair

    told: dict[str, Any] = json.loads(data.read_text(encoding="utf-8"))
    areas = (
        altair.Chart(altair.Data(values=told["shares"]))
        .mark_area(interpolate="step-after")
        .encode(
            x=altair.X("second:Q", title="seconds"),
            y=altair.Y("share:Q", title="share of requests", axis=altair.Axis(format="%")),
            color=altair.Color("server:N", title=None).scale(
                domain=list(NAMES), range=["#f58518", "#4c78a8", "#9ecae9"]
            ),
            order=altair.Order("place:O", sort="descending"),
        )
    )
    moments = altair.Chart(altair.Data(values=told["moments"]))
    rules = moments.mark_rule(strokeDash=[4, 3]).encode(x="second:Q")
    labels = moments.mark_text(align="left", dx=4, dy=-6, baseline="bottom").encode(
        x="second:Q", y=altair.value(0), text="what:N"
    )
    chart = altair.layer(areas, rules, labels).properties(width=640, height=220)
    chart.save(str(picture), format="png", scale_factor=1.5)


@contextmanager
def written(day: Day, servers: dict[str, FakeModelServer]) -> Generator[Path]:
    began = day.moments[0][1]
    moments = [{"what": what, "second": at - began} for what, at in day.moments[1:-1]]
    with TemporaryDirectory(prefix="manus-traffic-") as folder:
        data = Path(folder) / "day.json"
        text = json.dumps({"shares": shares(day, servers), "moments": moments})
        data.write_text(text, encoding="utf-8")
        yield data


def main() -> None:
    if sys.argv[1:2] == ["draw"]:
        draw(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    day, callers, servers = asyncio.run(live_through(STRATEGY))
    sys.stdout.write(f"{STRATEGY}: {day.tell()}\n")
    sys.stdout.write(
        f"{callers.answers.total()} calls, none failed, p99 {callers.p99_seconds:.2f} s\n"
    )
    with written(day, servers) as data:
        drawing = [sys.executable, "-m", "tests.bench.traffic", "draw", str(data), str(PICTURE)]
        subprocess.run(drawing, check=True)


if __name__ == "__main__":
    main()
