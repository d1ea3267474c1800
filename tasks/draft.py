"""A goal becomes a plan: one forced tool call, its mistakes told to the model at most twice."""

from __future__ import annotations

from typing import Any

import yaml
from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from pydantic import ValidationError

from core.completion import CompletionRequest, ToolChoice
from core.errors import PlanError
from core.fingerprint import fingerprint
from core.message import Message, ToolCallPart, ToolResultPart, system, user
from core.plan import Plan
from core.settings import first_problem
from tasks.check import check_plan
from tasks.create_plan import CREATE_PLAN, chained, create_plan_tool
from tasks.journal import AttemptFailed
from tasks.model_call import DurableModel
from tasks.opening import write_file
from tasks.policies import KEY_PARAMETER, is_infrastructure_failure, state_of
from tasks.progress import PlanReady
from tasks.request import RunRequest
from tasks.run import Position, Run, current_run

TRIES = 3
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
        PlanError: none of three plans could run; says what was wrong with the last.
    """
    run = current_run()
    model = DurableModel(run, Position(STEP_ID, attempt), "planner")
    messages = _opening(run, goal)
    problem: PlanError | None = None
    for turn in range(1, TRIES + 1):
        completion = await model.complete(_request(run, messages), turn=turn)
        call = next((c for c in completion.tool_calls if c.name == CREATE_PLAN), None)
        try:
            return _plan(run, goal, call)
        except PlanError as error:
            get_run_logger().warning("draft %d of %d: %s", turn, TRIES, error)
            problem = error
            messages += [completion.to_message(), _complaint(completion.tool_calls, error)]
    raise PlanError(f"the model made no usable plan in {TRIES} tries: {problem}")


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
    run.plans.append(plan)
    run.tell(PlanReady(plan))
    write_file(run.directory / f"plan.v{plan.version}.yaml", to_yaml(plan))
    return plan, states


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
    setup = fingerprint(_request(run, _opening(run, goal)))
    return run.journal.begin_attempt(STEP_ID, asked, setup)


def to_yaml(plan: Plan) -> str:
    """The plan as a file that ``read_plan`` takes; defaults are left out."""
    values = plan.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _opening(run: Run, goal: str) -> list[Message]:
    agents = "\n".join(f"- {a.name}: {a.description}" for a in run.services.agents.values())
    files = "\n".join(f"- ../data/{f.path} ({f.size_bytes} bytes)" for f in run.data)
    given = f"\n\nFiles given by the user:\n{files}" if files else ""
    return [system(_PROMPT.format(agents=agents)), user(f"Goal: {goal}{given}")]


def _request(run: Run, messages: list[Message]) -> CompletionRequest:
    return CompletionRequest(
        messages=tuple(messages),
        route=run.options.model,
        tools=(create_plan_tool(run.services.agents, _is_small(run)),),
        tool_choice=ToolChoice(mode="named", name=CREATE_PLAN),
        parallel_tool_calls=False,
    )


def _plan(run: Run, goal: str, call: ToolCallPart | None) -> Plan:
    if call is None:
        raise PlanError(f"you must call {CREATE_PLAN}")
    if call.arguments_error:
        raise PlanError(f"arguments: {call.arguments_error}")
    drafted = chained(call.arguments) if _is_small(run) else call.arguments
    values: dict[str, Any] = {**drafted, "goal": goal, "author": "model"}
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise PlanError(first_problem(error)) from error
    check_plan(plan, run.services, run.options.model)
    return plan


def _is_small(run: Run) -> bool:
    return run.services.router.uses_only_local_model


def _complaint(calls: tuple[ToolCallPart, ...], error: PlanError) -> Message:
    """Every call needs an answer; without any call the complaint is the user's."""
    text = f"This plan cannot run: {error}. Call {CREATE_PLAN} again with a corrected plan."
    if not calls:
        return user(text)
    answers = tuple(
        ToolResultPart(call_id=c.id, name=c.name, text=text, is_error=True) for c in calls
    )
    return Message(role="tool", parts=answers)
