"""``plan_and_run``: a goal or a plan becomes a durable run.

Requires a Prefect server and, for steps of kind agent or completion, a model provider. Writes
``runs/<run_key>/`` and usage rows under MANUS_HOME. Every finished model call, tool run and step is
committed under the run key; a flow run with ``resume_from``, or a retry of the same flow run, goes
on from there and repeats nothing that is committed.
"""

# No postponed annotations here: Prefect may load this file under another name, and then cannot
# resolve the types of the flow's parameters from their names.

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as present_flow_run
from prefect.states import Cancelled, Failed

from core.errors import RunFailedError
from core.plan import Plan
from core.result import RunReport, StepReport
from core.run import RunOptions
from tasks.board import PlanBoard, publish_report
from tasks.cancel import CancelledFromOutside, until_cancelled
from tasks.draft import obtain_plan
from tasks.execute import StepExecutor
from tasks.opening import opened
from tasks.report import account_for_run, build_report, report_cancelled, save_report
from tasks.request import RunRequest, prepare
from tasks.run import Run
from tasks.services import open_services
from tasks.store import NOWHERE, results_in
from tasks.summary import conclude


@flow(name="plan-and-run", persist_result=False, result_storage=NOWHERE)
async def plan_and_run(
    goal: str | None = None,
    plan: Plan | Path | None = None,
    options: RunOptions = RunOptions(),  # noqa: B008  frozen, so one for all is safe
) -> RunReport | State[Any]:
    """Plans the goal, or takes the plan, and runs it to the end.

    Args:
        goal: what is wanted, in words; a model drafts the plan.
        plan: a plan, or the path of a plan file; then no model drafts.
        options: everything else; see ``RunOptions``.

    Raises:
        BadInputError: before anything starts; names what is wrong.
        RunFailedError: a step that is not optional did not complete; the report is on disk.
    """
    flow_run_id = str(present_flow_run.id)
    async with open_services() as services:
        run_key, request = prepare(services, goal, plan, options, flow_run_id)
        async with opened(services, request, run_key, flow_run_id) as run:
            try:
                with results_in(run.store):
                    report = await _accounted(run, until_cancelled(_execute(run, request), run))
            except CancelledFromOutside:
                return Cancelled(message=f"cancelled; `manus resume {run_key}` goes on")
    return report if report.status == "completed" else _failed(report)


@flow(name="plan-only", persist_result=False, result_storage=NOWHERE)
async def plan_only(
    goal: str,
    options: RunOptions = RunOptions(),  # noqa: B008  frozen, so one for all is safe
) -> Plan:
    """A model's plan for the goal, checked but not run. Raises PlanError, BadInputError."""
    flow_run_id = str(present_flow_run.id)
    async with open_services() as services:
        run_key, request = prepare(services, goal, None, options, flow_run_id)
        request = request.model_copy(update={"only_drafts": True})
        async with opened(services, request, run_key, flow_run_id) as run:
            with results_in(run.store):
                plan, _ = await obtain_plan(run, request)
    return plan


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
    executor = StepExecutor(run, plan, drafted)
    async with PlanBoard(run, plan).live():
        outcomes = await executor.run_all()
        summary = await conclude(run, plan, executor.last_states(outcomes))
    report = build_report(run, plan, summary, started_at)
    await publish_report(run, report, save_report(run, report))
    return report


def _failed(report: RunReport) -> State[Any]:
    """The flow run's own final state; awaiting the flow raises its ``data``."""
    message = f"{report.headline}; {_reasons(report.steps)}"
    return Failed(message=message, data=RunFailedError(message, report=report))


def _reasons(steps: tuple[StepReport, ...]) -> str:
    return "; ".join(f"{s.step_id}: {s.reason}" for s in steps if s.reason)[:2000]
