"""The run's report: ``report.json`` for programs, ``report.md`` for people."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Literal

from core.errors import BudgetExceededError
from core.fingerprint import fingerprint
from core.plan import Plan, PlanStep
from core.result import RunReport, StepReport, StepStatus
from core.usage import UsageEvent
from tasks.opening import write_file
from tasks.run import Run

IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg"}
_PLAIN_PATH = re.compile(r"[\w./-]+")
"""Other names could end the link they are put in."""

RunStatus = Literal["completed", "failed", "cancelled", "over_budget"]


def build_report(run: Run, plan: Plan, summary: str, started_at: datetime) -> RunReport:
    """The report on ``run.settled``; steps that have not ended are ``not_started``."""
    steps = tuple(run.settled.get(s.id) or _not_started(s) for s in plan.steps)
    return RunReport(
        run_key=run.key,
        status=_status(run, plan, steps),
        goal=plan.goal,
        plan_title=plan.title,
        plan_version=plan.version,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        steps=steps,
        summary="\n\n".join([summary, *(f"Not revised: {e}" for e in run.unrevised)]),
        spend=run.meter.spend,
        directory=str(run.directory),
        replaced=tuple(run.replaced),
    )


def report_cancelled(run: Run, started_at: datetime) -> None:
    """Saves the report of a run that was stopped, unless it was stopped before it had a plan."""
    if run.plans:
        summary = f"Cancelled; `manus resume {run.key}` goes on."
        report = build_report(run, run.plans[-1], summary, started_at)
        save_report(run, report.model_copy(update={"status": "cancelled"}))


def _not_started(step: PlanStep) -> StepReport:
    return StepReport(step_id=step.id, title=step.title, status=StepStatus.NOT_STARTED)


def account_for_run(run: Run, began: float, error_type: str | None) -> None:
    """The run's own usage row, one for each flow run that worked on it."""
    run.emit(
        UsageEvent(
            event_id=fingerprint(run.key, run.flow_run_id, "run")[:32],
            kind="run",
            outcome="error" if error_type else "ok",
            error_type=error_type,
            run_key=run.key,
            operation_name="invoke_workflow",
            duration_seconds=time.monotonic() - began,
        )
    )


def _status(run: Run, plan: Plan, steps: tuple[StepReport, ...]) -> RunStatus:
    """``failed`` if a step that is not optional did not complete."""
    bad = [
        s
        for s in steps
        if s.status is not StepStatus.COMPLETED and not plan.step(s.step_id).optional
    ]
    spent = any(isinstance(error, BudgetExceededError) for error in run.unrevised)
    if spent or any(s.error_type == BudgetExceededError.__name__ for s in bad):
        return "over_budget"
    return "failed" if bad else "completed"


def save_report(run: Run, report: RunReport) -> str:
    """Writes both files into the run's directory and returns the Markdown."""
    markdown = to_markdown(report)
    write_file(run.directory / "report.json", report.model_dump_json(indent=2))
    write_file(run.directory / "report.md", markdown)
    return markdown


def to_markdown(report: RunReport) -> str:
    seconds = (report.finished_at - report.started_at).total_seconds()
    lines = [
        f"# {report.plan_title}",
        "",
        f"**{report.status}**: {report.headline}; {seconds:.1f} s; run `{report.run_key}`",
        "",
        report.summary,
        "",
        "| step | status | attempts | seconds | result |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(step) for step in report.steps]
    files = [
        f"- `{s.step_id}/{f.path}` ({f.size_bytes} bytes)"
        for s in report.steps
        if s.result
        for f in s.result.files
    ]
    notes = [f"- {s.step_id}: {note}" for s in report.steps for note in s.notes]
    if notes:
        lines += ["", "Notes:", "", *notes]
    if report.replaced:
        lines += ["", f"Planned anew (now version {report.plan_version}):", ""]
        lines += [f"- {r.step_id} {r.status.value}: {r.reason}" for r in report.replaced]
    lines += _images(report)
    if files:
        lines += ["", f"Files, under `{report.directory}/workspace/`:", "", *files]
    return "\n".join(lines) + "\n"


def _images(report: RunReport) -> list[str]:
    """Links to the images that steps left, relative to the report."""
    lines: list[str] = []
    for step in report.steps:
        for file in step.result.files if step.result else ():
            kind = file.path.rpartition(".")[2].lower()
            if kind in IMAGE_TYPES and _PLAIN_PATH.fullmatch(file.path):
                lines += ["", f"![{file.path}](workspace/{step.step_id}/{file.path})"]
    return lines


def _row(step: StepReport) -> str:
    said = step.result.summary if step.result else step.reason or ""
    if step.result and (origin := step.result.reused_from):
        said = f"(reused from run {origin.run_key}, {_age(origin.age_seconds)} old) {said}"
    cell = " ".join(said.split()).replace("|", "\\|")[:300]
    return (
        f"| {step.title} | {step.status.value} | {step.attempts} "
        f"| {step.duration_seconds:.1f} | {cell} |"
    )


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
