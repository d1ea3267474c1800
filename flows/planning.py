"""``plan_and_run``: a goal or a plan becomes a durable run.

Requires a Prefect server and, for steps of kind agent or completion, a model provider. Writes
``runs/<run_key>/`` and usage rows under MANUS_HOME. Every finished model call, tool run and step is
committed under the run key; a flow run with ``resume_from``, or a retry of the same flow run, goes
on from there and repeats nothing that is committed.
"""

# No postponed annotations here: Prefect may load this file under another name, and then cannot
# resolve the types of the flow's parameters from their names.

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as present_flow_run

from core.plan import Plan
from core.result import RunReport
from core.run import RunOptions
from tasks.carry_out import carry_out
from tasks.draft import obtain_plan
from tasks.opening import opened
from tasks.request import prepare
from tasks.services import open_services
from tasks.store import NOWHERE, results_in


@flow(name="plan-and-run", persist_result=False, result_storage=NOWHERE)
async def plan_and_run(
    goal: str = "",
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
        return await carry_out(services, request, run_key, flow_run_id)


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
