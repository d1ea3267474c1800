"""What the router costs over the bare provider: CPU per call, and latency, in one run.

``python -m tests.bench.router [CALLS]``. The same calls go to one fake server (in a process of its
own) through the provider alone and through a router of two deployments, in turns, so that what else
the machine does falls on both. Compare CPU, and only within one run. Before that, the router alone,
over a provider that answers at once without any wire.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from core.completion import (
    Chunk,
    Completion,
    CompletionRequest,
    ProviderStatus,
    StopReason,
    TokenUsage,
)
from core.message import TextPart, system, user
from core.provider_settings import ProviderSettings, RateLimits, RouteSettings, StrategyName
from core.settings import Settings
from providers.base import AnswerDraft, BaseProvider
from providers.deployment import Deployment
from providers.factory import build_router, create_provider, resolve_settings
from providers.prices import PriceBook
from providers.route import Route, Routing
from providers.router import DeploymentRouter
from providers.strategies import STRATEGIES
from tests.fakes.credentials import credentials

REQUEST = CompletionRequest(messages=(system("Be brief. " * 40), user("What is new? " * 40)))
MODEL = "gpt-6-sol"
ROUNDS = 6
VARIANTS: tuple[tuple[str, StrategyName, bool], ...] = (
    ("priority", "priority", False),
    ("latency", "latency", False),
    ("adaptive", "adaptive", False),
    ("priority, limits in a file", "priority", True),
)
Call = Callable[[CompletionRequest], Awaitable[Completion]]


class InstantProvider(BaseProvider):
    """Answers without a wire: what remains is the router."""

    async def get_status(self) -> ProviderStatus:
        return ProviderStatus(name=self.name, key_present=True)

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        draft = AnswerDraft((TextPart(text="hi"),), StopReason.END, None, TokenUsage(), {}, None)
        return self._finish(draft, model)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        yield Chunk(completion=await self._complete(request, model))


@dataclass(slots=True)
class Measured:
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list[float])

    def show(self, name: str, bare: Measured) -> None:
        calls = len(self.latencies)
        cuts = statistics.quantiles(self.latencies, n=100)
        cpu = self.cpu_seconds / calls * 1000
        added = cpu - bare.cpu_seconds / len(bare.latencies) * 1000
        sys.stdout.write(
            f"  {name:28s} {cpu:6.2f} ms CPU/call ({added:+.2f})"
            f"  p50 {cuts[49] * 1000:7.1f} ms  p99 {cuts[98] * 1000:7.1f} ms\n"
        )


@contextmanager
def fake_model() -> Generator[str]:
    command = [sys.executable, "-m", "tests.fakes.model_server"]
    command += ["--script", "tests.fakes.scripts:echo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fake:
        assert fake.stdout is not None
        yield f"http://127.0.0.1:{json.loads(fake.stdout.readline())['port']}/v1"
        fake.terminate()


async def run(call: Call, calls: int, concurrency: int, into: Measured) -> None:
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            started = time.perf_counter()
            await call(REQUEST)
            into.latencies.append(time.perf_counter() - started)

    before = time.process_time()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    into.cpu_seconds += time.process_time() - before


def router_of(url: str, home: Path, strategy: StrategyName, *, limited: bool) -> DeploymentRouter:
    deployments = (f"openai:{MODEL}", "openai:gpt-6-luna")
    route = RouteSettings(deployments=deployments, strategy=strategy)
    limits = {"openai": RateLimits(rpm=10**7, tpm=10**10)} if limited else {}
    keys = credentials(openai=url)
    return build_router(
        Settings(home=home, credentials=keys, routes={"default": route}, limits=limits)
    )


async def bench_alone(calls: int) -> None:
    provider = InstantProvider("openai", 60)
    prices = PriceBook({"openai": ProviderSettings(kind="openai")})

    async def bare(request: CompletionRequest) -> Completion:
        return await provider.generate_completion(request, model=MODEL)

    async def priced(request: CompletionRequest) -> Completion:
        answer = await bare(request)
        return answer.model_copy(update={"cost_usd": prices.cost_usd(answer)})

    targets: dict[str, Call] = {"bare provider": bare, "bare provider, priced": priced}
    deployments = (Deployment("openai", MODEL), Deployment("openai", "gpt-6-luna"))
    for strategy in STRATEGIES:
        route = Route("default", deployments, strategy=strategy)
        routing = Routing({"default": route}, {"openai": MODEL})
        router = DeploymentRouter({"openai": provider}, routing, prices)
        targets[strategy] = router.generate_completion
    await compare(targets, calls, 1, "no wire")


async def compare(targets: Mapping[str, Call], calls: int, concurrency: int, title: str) -> None:
    results = {name: Measured() for name in targets}
    for call in targets.values():
        await run(call, concurrency + 10, concurrency, Measured())  # connections
    for _ in range(ROUNDS):
        for name, call in targets.items():
            await run(call, calls // ROUNDS, concurrency, results[name])
    sys.stdout.write(f"{title}, {concurrency} at a time, {calls} calls each:\n")
    for name, result in results.items():
        result.show(name, results["bare provider"])
    sys.stdout.flush()


async def bench(url: str, home: Path, calls: int) -> None:
    keys = credentials(openai=url)
    settings = resolve_settings("openai", ProviderSettings(kind="openai"), keys)
    provider = create_provider("openai", settings, keys)
    prices = PriceBook({"openai": settings})

    async def bare(request: CompletionRequest) -> Completion:
        return await provider.generate_completion(request, model=MODEL)

    async def priced(request: CompletionRequest) -> Completion:
        answer = await bare(request)
        return answer.model_copy(update={"cost_usd": prices.cost_usd(answer)})

    routers = {n: router_of(url, home, s, limited=limited) for n, s, limited in VARIANTS}
    targets: dict[str, Call] = {"bare provider": bare, "bare provider, priced": priced}
    targets |= {name: router.generate_completion for name, router in routers.items()}
    for concurrency in (1, 100):
        await compare(targets, calls, concurrency, "loopback")
    await asyncio.gather(provider.close(), *(r.close() for r in routers.values()))


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1200
    with TemporaryDirectory(prefix="manus-bench-") as home, fake_model() as url:
        asyncio.run(bench_alone(2 * calls))
        asyncio.run(bench(url, Path(home), calls))


if __name__ == "__main__":
    main()
