"""Everything a run needs from outside, opened once at an entry point and passed down."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from agents.load import load_agents
from analytics.spool import SpoolWriter
from core.agent import AgentSpec
from core.mcp import load_mcp_settings
from core.ports import Limiter, Router, UsageSink
from core.settings import Settings, load_settings
from core.usage import UsageEvent
from providers.factory import build_router
from tasks.progress import RunEvent
from tasks.spending import SpendingLedger
from tools.mcp.servers import connect_servers
from tools.registry import ToolRegistry, default_registry
from tools.resources import Resources, resources
from tools.sandbox.base import Sandbox
from tools.sandbox.select import choose_sandbox

if TYPE_CHECKING:  # opening services does not load Prefect, so that bad input is told at once
    from tasks.store import RecordStorage


@dataclass(frozen=True, slots=True)
class Services:
    """Ports and registries. Replace one (``dataclasses.replace``) to extend or to test.

    ``storage`` defaults to MANUS_HOME's. ``listeners`` are told what happens in a run. Setting
    ``cancel_requested`` cancels it. ``ledger`` is there where ``[budgets]`` limits anything.
    """

    settings: Settings
    router: Router
    tools: ToolRegistry
    agents: Mapping[str, AgentSpec]
    sandbox: Sandbox
    sink: UsageSink
    storage: RecordStorage | None = None
    listeners: tuple[Callable[[RunEvent], None], ...] = ()
    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    resources: Resources = field(default_factory=Resources)
    ledger: SpendingLedger | None = None


LEARNING_STRATEGIES = frozenset({"latency", "adaptive"})
"""A new process of theirs begins with what the last hour's usage rows tell. The others need no
history, and must not be held back by yesterday's wrong key."""

_CURRENT: ContextVar[Services | None] = ContextVar("services", default=None)


@contextmanager
def using(services: Services) -> Generator[Services]:
    """Flows called inside use these services instead of opening their own."""
    token = _CURRENT.set(services)
    try:
        yield services
    finally:
        _CURRENT.reset(token)


@asynccontextmanager
async def open_services(settings: Settings | None = None) -> AsyncGenerator[Services]:
    """The services given by ``using``, else new ones from the configuration, closed at the end.

    Raises:
        ConfigError: a file (mcp.json too), key or agent is wrong, or no provider is configured.
        SandboxUnavailableError: nothing on this machine can run tools safely.
    """
    if (given := _CURRENT.get()) is not None:
        yield given
        return
    settings = settings or load_settings()
    async with _limiter(settings) as limiter, _opened(settings, limiter) as services:
        yield services


@asynccontextmanager
async def _limiter(settings: Settings) -> AsyncGenerator[Limiter | None]:
    """The one on the Prefect server, where that is configured; Prefect is loaded only then."""
    if settings.limits_backend != "prefect" or not settings.limits:
        yield None
        return
    from tasks.prefect_limiter import prefect_limiter

    async with prefect_limiter(settings.limits) as limiter:
        yield limiter


@asynccontextmanager
async def _opened(settings: Settings, limiter: Limiter | None) -> AsyncGenerator[Services]:
    home = settings.home
    mcp = load_mcp_settings(home)
    agents = load_agents(home / "agents")
    router = build_router(settings, limiter=limiter)
    if any(r.strategy in LEARNING_STRATEGIES for r in settings.routes.values()):
        router.warm_start(await asyncio.to_thread(_last_hour, home))
    sandbox = await choose_sandbox(settings.sandbox, settings.daytona)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    sink = SpoolWriter(home / "spool")
    ledger = SpendingLedger(home, settings.budgets) if settings.budgets.limits else None
    try:
        with _imports_exempt_from_collection():
            async with resources() as scope:
                tools = default_registry(settings)
                await connect_servers(mcp, home, tools, scope)
                services = Services(settings, router, tools, agents, sandbox, sink)
                yield replace(services, resources=scope, ledger=ledger)
    finally:
        if ledger:
            ledger.close()
        sink.seal()
        await sandbox.close()
        await router.close()


def _last_hour(home: Path) -> tuple[UsageEvent, ...]:
    """What other processes saw of the deployments. Read only where a route learns from it."""
    from analytics.queries import recent_model_calls
    from analytics.reader import open_usage

    with open_usage(home) as usage:
        return recent_model_calls(usage, datetime.now(UTC) - timedelta(hours=1))


@contextmanager
def _imports_exempt_from_collection() -> Generator[None]:
    """A full garbage collection walks every object of Prefect and the SDKs, ~150 ms at a time.

    While it does, the event loop stands still in the middle of a run.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
