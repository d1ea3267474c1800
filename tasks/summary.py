"""The run's summary: written by a model from what the steps report, or put together from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from core.completion import CompletionRequest
from core.message import system, user
from core.plan import Plan
from core.result import StepReport, StepStatus
from tasks.inputs import MAX_BRIEF_CHARS
from tasks.model_call import DurableModel
from tasks.policies import KEY_PARAMETER, is_infrastructure_failure, state_of
from tasks.run import Position, Run, current_run
from tasks.store import raise_if_unsaved

NAME = "summarize"
STEP_ID = f"_{NAME}"
"""In record keys. No step of a plan can have it: theirs begin with a letter or digit."""

_PROMPT = """\
You report the outcome of a plan to the person who asked for it. State the results first, with the
figures and file names that matter, then what failed or was skipped and why. Use only what the steps
report; where they report nothing, say so. Be brief.
"""


@task(
    task_run_name=NAME,
    cache_policy=KEY_PARAMETER,
    persist_result=True,
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=is_infrastructure_failure,
)
async def summarize(plan: Plan, reports: tuple[StepReport, ...], key: str) -> str:
    """A model's summary of a run whose steps all completed."""
    run = current_run()
    model = DurableModel(run, Position(STEP_ID, 1), "summarizer")
    request = CompletionRequest(
        messages=(system(_PROMPT), user(_facts(plan, reports))), route=run.options.model
    )
    return (await model.complete(request, turn=1)).text


def _facts(plan: Plan, reports: tuple[StepReport, ...]) -> str:
    share = max(500, 4 * MAX_BRIEF_CHARS // len(reports))
    lines = [f"Goal: {plan.goal or plan.title}"]
    for report in reports:
        said = report.result.summary if report.result else report.reason or ""
        lines.append(f"Step '{report.step_id}' ({report.title}): {report.status.value}")
        lines.append(said[:share])
        if report.result and report.result.files:
            lines.append("files: " + ", ".join(f.path for f in report.result.files))
    return "\n".join(lines)


async def conclude(run: Run, plan: Plan, after: Sequence[State[Any]]) -> str:
    """The run's summary. A summary that no model can write is put together without one."""
    reports = tuple(run.settled[s.id] for s in plan.steps)
    completed = all(r.status is StepStatus.COMPLETED for r in reports)
    if not plan.summarize or not completed:
        return without_model(plan, reports)
    state = await state_of(
        summarize,
        plan=plan,
        reports=reports,
        key=f"{run.key}/{STEP_ID}/summary",
        after=after,
    )
    outcome = await state.aresult(raise_on_failure=False)
    raise_if_unsaved(run.store)
    return outcome if isinstance(outcome, str) else without_model(plan, reports)


def without_model(plan: Plan, reports: tuple[StepReport, ...]) -> str:
    """The summaries of the steps that nothing depends on, and the reasons of what went wrong."""
    dependants = plan.dependants()
    lines: list[str] = []
    for report in reports:
        if report.status is not StepStatus.COMPLETED:
            lines.append(f"{report.title}: {report.status.value}: {report.reason}")
        elif report.result and not dependants[report.step_id]:
            lines.append(report.result.summary)
    return "\n\n".join(line for line in lines if line)
