"""``manus usage``: spend, latency and reliability, or every call of one run."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.table import Table as RichTable

from analytics import queries
from analytics.compactor import compact
from analytics.figures import Window
from analytics.page import usage_page
from analytics.reader import Usage, open_usage
from analytics.report import Table, report
from core.errors import BadInputError
from core.settings import load_settings
from core.usage import UsageEvent
from gateway.cli.exits import write_file
from gateway.cli.listing import list_runs, wide_console
from tasks.request import find_run
from tasks.spending import BudgetLine, SpendingLedger

_MOST_DAYS = 36_500


def usage_command(
    run_key: str | None, days: int | None, html: Path | None, *, as_json: bool
) -> None:
    home = load_settings().home
    key = find_run(home, run_key) if run_key else None
    since = _days_ago(days) if days is not None else None
    window = Window(since=since, run_key=key)
    compact(home)  # so that what piled up since the last time is not read line by line again
    with open_usage(home) as usage:
        if html:
            page = usage_page(usage, window, made_at=datetime.now(UTC))
            write_file(html, page)
            sys.stderr.write(f"wrote {html}\n")
            return
        shown = key or _newest_run(home)
        calls = queries.calls_of(usage, shown) if shown else ()
        if as_json:
            sys.stdout.write(json.dumps(_document(usage, window, calls), indent=2) + "\n")
            return
        console = wide_console()
        if calls:
            console.print(_calls_table(calls))
        for table in report(usage, window):
            console.print(_rich(table))


def _days_ago(days: int) -> datetime:
    if not 0 < days <= _MOST_DAYS:
        raise BadInputError(f"--days {days}: must be from 1 to {_MOST_DAYS}")
    return datetime.now(UTC) - timedelta(days=days)


def budget_command(*, as_json: bool) -> None:
    """Shows every limit of ``[budgets]``: what of it is spent today, and what is left."""
    settings = load_settings()
    ledger = SpendingLedger(settings.home, settings.budgets)
    lines = asyncio.run(ledger.look()) if settings.budgets.limits else ()
    if as_json:
        document = [{**line.model_dump(mode="json"), "left": str(line.left)} for line in lines]
        sys.stdout.write(json.dumps({"budgets": document}, indent=2) + "\n")
    elif not lines:
        sys.stdout.write("no limits: [budgets.day] and [budgets.tags.NAME] set them\n")
    else:
        wide_console().print(_budget_table(lines))


def _budget_table(lines: Sequence[BudgetLine]) -> RichTable:
    shown = RichTable(title=f"Budgets, which begin anew at {lines[0].resets_at:%Y-%m-%d %H:%M %Z}")
    shown.add_column("limit")
    for name in ("maximum", "spent", "set aside", "left", "calls of unknown price"):
        shown.add_column(name, justify="right")
    for line in lines:
        figures = (line.maximum, line.spent, line.set_aside, line.left, line.unpriced_calls)
        shown.add_row(line.limit, *(str(figure) for figure in figures))
    return shown


def _newest_run(home: Path) -> str | None:
    newest = list_runs(home, limit=1)
    return newest[0].run_key if newest else None


def _document(usage: Usage, window: Window, calls: tuple[UsageEvent, ...]) -> dict[str, object]:
    return {
        "window": window.model_dump(mode="json"),
        "tables": [t.model_dump(mode="json") for t in report(usage, window)],
        "calls": [c.model_dump(mode="json") for c in calls],
    }


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, caption=table.note or None)
    for column in table.columns:
        shown.add_column(column.title, justify="left" if column.unit == "text" else "right")
    for row in table.text_rows:
        shown.add_row(*row)
    return shown


def _calls_table(calls: tuple[UsageEvent, ...]) -> RichTable:
    shown = RichTable(title=f"Calls of run {calls[0].run_key} ({len(calls)})")
    for name in ("time", "step", "turn", "what", "outcome"):
        shown.add_column(name)
    for name in ("in", "out", "cost USD", "seconds"):
        shown.add_column(name, justify="right")
    for call in calls:
        what = call.tool_name or call.deployment or "model call"
        shown.add_row(
            call.ts.astimezone().strftime("%H:%M:%S"),
            call.step_id or "",
            str(call.turn or ""),
            what,
            call.error_type or call.outcome,
            str(call.input_tokens or ""),
            str(call.output_tokens or ""),
            _cost(call),
            f"{call.duration_seconds:.2f}",
        )
    return shown


def _cost(call: UsageEvent) -> str:
    if call.kind != "model_call":
        return ""
    return "unknown" if call.cost_usd is None else f"{call.cost_usd:.6f}"
