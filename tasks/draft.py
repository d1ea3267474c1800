"""A goal becomes a plan."""

from __future__ import annotations

from functools import partial
from typing import Any

import yaml
from prefect import task
from prefect.client.schemas.objects import State

from core.errors import PlanError
from core.fingerprint import fingerprint
from core.message import Message, system, user
from core.plan import Plan
from tasks.create_plan import chained
from tasks.journal import AttemptFailed
from tasks.model_call import DurableModel
from tasks.opening import write_file
from tasks.planner import agents_text, ask_for_plan, checked_plan, has_small_model, planner_request
from tasks.policies import KEY_PARAMETER, is_infrastructure_failure, state_of
from tasks.progress import PlanReady
from tasks.request import RunRequest
from tasks.run import Position, Run, current_run

NAME = "draft-plan"
STEP_ID = f"_{NAME}"
"""In record keys. No step of a plan can have it: theirs begin with a letter or digit."""

_PROMPT = """\
You turn a goal into a plan that several agents carry out. A plan is a graph of steps.

- Make as few steps as the goal needs. A simple goal is one step.
- Steps that do not need each other's results run at the same time: give a step only the
  dependencies it really needs.
- Write instructions that stand on their own: the agent sees them, the goal, and the results of
  the steps it depends on, and nothing else.
- Say in each step's instructions what its result must contain.

Agents:
{agents}
"""


@task(
    task_run_name=NAME,
    cache_policy=KEY_PARAMETER,
    persist_result=True,
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=is_infrastructure_failure,
)
async def draft_plan(goal: str, attempt: int, key: str) -> Plan:
    """The model's plan for ``goal``, checked.

    Raises:
        PlanError: no plan that the model made could run; says what was wrong with the last.
    """
    run = current_run()
    model = DurableModel(run, Position(STEP_ID, attempt), "planner")
    return await ask_for_plan(model, _opening(run, goal), partial(_plan, run, goal))


async def obtain_plan(run: Run, request: RunRequest) -> tuple[Plan, tuple[State[Any], ...]]:
    """The given plan, or one drafted from the goal, saved in the run's directory.

    Also returns the states that the first steps wait for (the draft's).

    Raises:
        PlanError, ManusError: no plan; see ``draft_plan``.
    """
    if request.plan is not None:
        plan, states = request.plan, ()
    else:
        plan, state = await _drafted(run, request.goal)
        states = (state,)
    announce(run, plan)
    return plan, states


def announce(run: Run, plan: Plan) -> None:
    """Makes a plan the run's present one, on disk and for whoever watches."""
    run.plans.append(plan)
    run.tell(PlanReady(plan))
    write_file(run.directory / f"plan.v{plan.version}.yaml", to_yaml(plan))


async def _drafted(run: Run, goal: str) -> tuple[Plan, State[Any]]:
    """A draft that failed honestly is made anew by a resume, else it would fail so for ever."""
    attempt = await _attempt_number(run, goal)
    key = Position(STEP_ID, attempt).step_key(run.key)
    state = await state_of(draft_plan, goal=goal, attempt=attempt, key=key)
    outcome = await state.aresult(raise_on_failure=False)
    if isinstance(outcome, PlanError):
        run.journal.append(AttemptFailed(step_id=STEP_ID, attempt=attempt, reason=str(outcome)))
    if not isinstance(outcome, Plan):
        raise outcome
    return outcome, state


async def _attempt_number(run: Run, goal: str) -> int:
    """The attempt that is committed, whatever has changed since; else the one to go on with."""
    asked = fingerprint(goal)
    current = run.journal.current_attempt(STEP_ID, asked)
    if current and await run.store.aexists(Position(STEP_ID, current).step_key(run.key)):
        return current
    setup = fingerprint(planner_request(run, _opening(run, goal)))
    return run.journal.begin_attempt(STEP_ID, asked, setup)


def to_yaml(plan: Plan) -> str:
    """The plan as a file that ``read_plan`` takes; defaults are left out."""
    values = plan.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _opening(run: Run, goal: str) -> list[Message]:
    files = "\n".join(f"- ../data/{f.path} ({f.size_bytes} bytes)" for f in run.data)
    given = f"\n\nFiles given by the user:\n{files}" if files else ""
    return [system(_PROMPT.format(agents=agents_text(run))), user(f"Goal: {goal}{given}")]


def _plan(run: Run, goal: str, arguments: dict[str, Any]) -> Plan:
    drafted = chained(arguments) if has_small_model(run) else arguments
    said = {name: drafted[name] for name in ("title", "steps") if name in drafted}
    return checked_plan(run, {**said, "goal": goal, "author": "model"})
