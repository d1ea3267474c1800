"""``manus runs``: what ran here, from the run directories alone (no server is needed)."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.base import Value
from core.errors import BadInputError, CorruptRecordError
from core.result import RunReport
from core.settings import load_settings
from tasks.lease import is_held
from tasks.request import REQUEST_FILE, read_request

ListedStatus = Literal[
    "running", "completed", "failed", "cancelled", "over_budget", "interrupted", "damaged"
]


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
    listed = (_listed(path.parent) for path in newest)
    return tuple(islice((run for run in listed if run is not None), limit))


def _listed(directory: Path) -> ListedRun | None:
    """None for what only drafted a plan. A damaged run is listed as that, the others as ever."""
    started = datetime.fromtimestamp((directory / REQUEST_FILE).stat().st_mtime, UTC)
    line = ListedRun(
        run_key=directory.name,
        status="running" if is_held(directory) else "interrupted",
        title="",
        started_at=started,
        directory=str(directory),
    )
    try:
        request = read_request(directory)
        report = _report(directory)
    except (CorruptRecordError, ValidationError) as error:
        return line.model_copy(update={"status": "damaged", "title": str(error).splitlines()[0]})
    if request.only_drafts:
        return None
    line = line.model_copy(update={"title": request.plan.title if request.plan else request.goal})
    return line if report is None or line.status == "running" else _ended(line, report)


def _ended(line: ListedRun, report: RunReport) -> ListedRun:
    end = {
        "status": report.status,
        "title": report.plan_title,
        "headline": report.headline,
        "cost_usd": str(report.spend.cost_usd),
    }
    return line.model_copy(update=end)


def _report(directory: Path) -> RunReport | None:
    path = directory / "report.json"
    return RunReport.model_validate_json(path.read_bytes()) if path.exists() else None


def wide_console() -> Console:
    """Stdout; where it is no terminal, wide enough for any table."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def runs_command(limit: int, *, as_json: bool) -> None:
    if limit < 0:
        raise BadInputError(f"--limit {limit}: must not be negative")
    found = list_runs(load_settings().home, limit)
    if as_json:
        document = {"runs": [r.model_dump(mode="json") for r in found]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    table = Table("run", "started", "status", "title", "steps", "cost USD")
    for run in found:
        started = run.started_at.astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(
            *(run.run_key[:13], started, run.status, escape(run.title[:60])),
            *(run.headline, run.cost_usd),
        )
    wide_console().print(table)
