"""``manus providers``: who can answer, how they are doing, and what they cost today."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from analytics.figures import Dimension, Window
from analytics.queries import recent_model_calls, spend_by
from analytics.reader import open_usage
from analytics.spool import SpoolWriter, uuid7
from core.base import Value
from core.completion import Completion, CompletionRequest, ProviderStatus
from core.errors import ConfigError
from core.message import user
from core.settings import Settings, load_settings
from core.usage import UsageEvent
from gateway.cli.exits import Exit
from gateway.cli.listing import wide_console
from providers.factory import build_router
from providers.health import DeploymentSnapshot
from tasks.accounting import with_answer


class Deployments(Value):
    """What is known without spending anything. ``spent_today_usd`` is by provider, in UTC."""

    providers: tuple[ProviderStatus, ...]
    deployments: tuple[DeploymentSnapshot, ...]
    spent_today_usd: dict[str, Decimal]


def providers_command(*, as_json: bool) -> None:
    found = asyncio.run(look(load_settings()))
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        return
    console = wide_console()
    console.print(_provider_table(found))
    console.print(_deployment_table(found.deployments))


def ask_command(name: str, *, as_json: bool) -> Exit:
    """One small real call to a provider, or to ``provider:model``; it costs what it costs.

    Raises:
        ConfigError: no such provider.
        ManusError: what the provider answered with.
    """
    settings = load_settings()
    began = time.monotonic()
    answer = asyncio.run(_ask(settings, name))
    document = {
        "deployment": answer.deployment,
        "model": answer.model,
        "text": answer.text,
        "seconds": round(time.monotonic() - began, 3),
        "cost_usd": None if answer.cost_usd is None else str(answer.cost_usd),
    }
    if as_json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        cost = document["cost_usd"] or "an unknown price"
        sys.stdout.write(f"{answer.deployment} answered in {document['seconds']} s for {cost}\n")
    return Exit.COMPLETED


async def look(settings: Settings) -> Deployments:
    """Asks every provider for its status and reads the last day's usage rows."""
    router = build_router(settings)
    try:
        calls, spent = await asyncio.to_thread(_usage, settings.home)
        router.warm_start(calls)
        return Deployments(
            providers=await router.get_statuses(),
            deployments=await router.snapshot(),
            spent_today_usd=spent,
        )
    finally:
        await router.close()


def _usage(home: Path) -> tuple[tuple[UsageEvent, ...], dict[str, Decimal]]:
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    with open_usage(home) as usage:
        calls = recent_model_calls(usage, now - timedelta(hours=1))
        groups = spend_by(usage, (Dimension.PROVIDER,), Window(since=midnight))
    spent = {str(g.keys[Dimension.PROVIDER]): g.spend.cost_usd for g in groups}
    return calls, spent


async def _ask(settings: Settings, name: str) -> Completion:
    router = build_router(settings)
    try:
        if ":" not in name:
            known = [d for route in router.describe().values() for d in route]
            chosen = next((d for d in known if d.partition(":")[0] == name), None)
            if chosen is None:
                there = ", ".join(known)
                raise ConfigError(f"no route has a provider '{name}'; there are: {there}")
            name = chosen
        request = CompletionRequest(
            messages=(user("Answer with the one word: ready"),), route=name, max_output_tokens=500
        )
        answer = await router.generate_completion(request)
        SpoolWriter(settings.home / "spool").emit(_row(answer))
        return answer
    finally:
        await router.close()


def _row(answer: Completion) -> UsageEvent:
    """It belongs to no run and is paid all the same."""
    row = UsageEvent(
        event_id=uuid7().hex, kind="model_call", run_key="providers-test", operation_name="chat"
    )
    return with_answer(row, answer)


def _provider_table(found: Deployments) -> Table:
    table = Table("provider", "key", "reachable", "spent today", "detail", title="Providers")
    for status in found.providers:
        reachable = {True: "yes", False: "no", None: "not asked"}[status.reachable]
        spent = found.spent_today_usd.get(status.name)
        table.add_row(
            status.name,
            "yes" if status.key_present else "no",
            reachable,
            "-" if spent is None else f"${spent:.4f}",
            escape(status.detail),
        )
    return table


def _deployment_table(deployments: tuple[DeploymentSnapshot, ...]) -> Table:
    title = "Deployments (from the last hour's calls)"
    table = Table("deployment", "breaker", title=title)
    for name in ("p50 s", "p95 s", "error rate", "requests left", "tokens left"):
        table.add_column(name, justify="right")
    for one in deployments:
        table.add_row(
            one.deployment,
            one.breaker + (f" ({escape(one.reason)})" if one.reason else ""),
            *(_shown(one.p50_seconds, 2), _shown(one.p95_seconds, 2), _shown(one.error_rate, 3)),
            *(_shown(one.requests_left, 0), _shown(one.tokens_left, 0)),
        )
    return table


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
