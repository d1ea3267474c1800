"""A run from its checked request to its report: what all flows that run plans have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Failed

from core.errors import RunFailedError
from core.result import RunReport, StepReport
from tasks.board import PlanBoard
from tasks.cancel import CancelledFromOutside, until_cancelled
from tasks.draft import obtain_plan
from tasks.execute import StepExecutor
from tasks.opening import opened
from tasks.publish import publish_report
from tasks.report import account_for_run, build_report, report_cancelled, save_report
from tasks.request import RunRequest
from tasks.revise import latest_version, revised
from tasks.run import Run
from tasks.services import Services
from tasks.store import results_in
from tasks.summary import conclude


async def carry_out(
    services: Services, request: RunRequest, run_key: str, flow_run_id: str
) -> RunReport | State[Any]:
    """Inside a flow: obtains the plan, runs it to the end and reports.

    Returns the report, or the final state of a flow run that was cancelled or whose run failed;
    awaiting the flow then raises RunFailedError, which has the report.
    """
    async with opened(services, request, run_key, flow_run_id) as run:
        try:
            with results_in(run.store):
                report = await _accounted(run, until_cancelled(_execute(run, request), run))
        except CancelledFromOutside as cancel:
            return Cancelled(message=f"{cancel}; `manus resume {run_key}` goes on")
    return report if report.status == "completed" else _failed(report)


async def _accounted(run: Run, work: Coroutine[Any, Any, RunReport]) -> RunReport:
    """Leaves the run's usage row, and a report where it was cancelled, however it ends."""
    began, started_at = time.monotonic(), datetime.now(UTC)
    try:
        report = await work
    except BaseException as error:
        if isinstance(error, CancelledFromOutside | asyncio.CancelledError):
            report_cancelled(run, started_at)
        account_for_run(run, began, type(error).__name__)
        raise
    failed = RunFailedError.__name__ if report.status != "completed" else None
    account_for_run(run, began, failed)
    return report


async def _execute(run: Run, request: RunRequest) -> RunReport:
    started_at = datetime.now(UTC)
    plan, drafted = await obtain_plan(run, request)
    version = await latest_version(run, plan, drafted)
    while True:
        executor = StepExecutor(run, version.plan, version.after, version.kept)
        async with PlanBoard(run, version.plan).live():
            outcomes = await executor.run_all()
        following = await revised(run, version, outcomes)
        if following is None:
            break
        version = following
    summary = await conclude(run, version.plan, executor.last_states(outcomes))
    report = build_report(run, version.plan, summary, started_at)
    await publish_report(run, report, save_report(run, report))
    return report


def _failed(report: RunReport) -> State[Any]:
    """The flow run's own final state; awaiting the flow raises its ``data``."""
    message = f"{report.headline}; {_reasons(report.steps)}"
    return Failed(message=message, data=RunFailedError(message, report=report))


def _reasons(steps: tuple[StepReport, ...]) -> str:
    return "; ".join(f"{s.step_id}: {s.reason}" for s in steps if s.reason)[:2000]
