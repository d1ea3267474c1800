"""``run_agent``: one agent does what a prompt says, as a durable run.

No model plans or sums up: the agent gets the prompt, and its answer is the run's. Underneath it is
a plan of one step, so everything that ``plan_and_run`` requires, writes and promises holds here.
"""

# No postponed annotations: see flows/planning.py.

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as present_flow_run

from core.errors import BadInputError
from core.result import RunReport
from core.run import RunOptions
from tasks.carry_out import carry_out
from tasks.conversation import single_step_plan
from tasks.request import prepare
from tasks.services import open_services
from tasks.store import NOWHERE


@flow(name="run-agent", persist_result=False, result_storage=NOWHERE)
async def run_agent(
    prompt: str | None = None,
    agent: str = "manus",
    options: RunOptions = RunOptions(),  # noqa: B008  frozen, so one for all is safe
) -> RunReport | State[Any]:
    """Has the agent answer the prompt.

    Args:
        prompt: what is wanted; may be left out with ``options.resume_from`` only.
        agent: the name of an agent's file.
        options: everything else; see ``RunOptions``.

    Raises:
        BadInputError: before anything starts; names what is wrong.
        RunFailedError: the agent did not complete it; the report is on disk.
    """
    flow_run_id = str(present_flow_run.id)
    prompt = (prompt or "").strip()
    if not prompt and not options.resume_from:
        raise BadInputError("give a prompt")
    async with open_services() as services:
        plan = single_step_plan(prompt, agent, options) if prompt else None
        # What failed is the answer: nothing is planned around it.
        options = options.model_copy(update={"max_replans": 0})
        run_key, request = prepare(services, "", plan, options, flow_run_id)
        request = request.model_copy(update={"workflow": "run_agent"})
        return await carry_out(services, request, run_key, flow_run_id)
