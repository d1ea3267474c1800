"""``manus runs``: what ran here, from the run directories alone (no server is needed)."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from core.base import Value
from core.result import RunReport
from core.settings import load_settings
from tasks.lease import is_held
from tasks.request import REQUEST_FILE, RunRequest, read_request

ListedStatus = Literal["running", "completed", "failed", "cancelled", "over_budget", "interrupted"]


class ListedRun(Value):
    """One line of the list. ``interrupted``: no process works on it and it never ended."""

    run_key: str
    status: ListedStatus
    title: str
    started_at: datetime
    headline: str = ""
    cost_usd: str = ""
    directory: str


def list_runs(home: Path, limit: int) -> tuple[ListedRun, ...]:
    """The newest ``limit`` runs under ``home``, newest first."""
    requests = (home / "runs").glob(f"*/{REQUEST_FILE}")
    newest = sorted(requests, key=lambda p: p.stat().st_mtime, reverse=True)
    asked = ((path.parent, read_request(path.parent)) for path in newest)
    runs = ((place, request) for place, request in asked if not request.only_drafts)
    return tuple(_listed(*run) for run in islice(runs, limit))


def _listed(directory: Path, request: RunRequest) -> ListedRun:
    report = _report(directory)
    started = datetime.fromtimestamp((directory / REQUEST_FILE).stat().st_mtime, UTC)
    status: ListedStatus = "running" if is_held(directory) else "interrupted"
    title = request.plan.title if request.plan else request.goal
    if report is None or status == "running":
        return ListedRun(
            run_key=directory.name,
            status=status,
            title=title,
            started_at=started,
            directory=str(directory),
        )
    return ListedRun(
        run_key=directory.name,
        status=report.status,
        title=report.plan_title,
        started_at=started,
        headline=report.headline,
        cost_usd=str(report.spend.cost_usd),
        directory=str(directory),
    )


def _report(directory: Path) -> RunReport | None:
    path = directory / "report.json"
    return RunReport.model_validate_json(path.read_bytes()) if path.exists() else None


def wide_console() -> Console:
    """Stdout; where it is no terminal, wide enough for any table."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def runs_command(limit: int, *, as_json: bool) -> None:
    found = list_runs(load_settings().home, limit)
    if as_json:
        document = {"runs": [r.model_dump(mode="json") for r in found]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    table = Table("run", "started", "status", "title", "steps", "cost USD")
    for run in found:
        started = run.started_at.astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(
            run.run_key[:13], started, run.status, run.title[:60], run.headline, run.cost_usd
        )
    wide_console().print(table)
