"""Asking a model for a plan: one forced tool call, its mistakes told to it at most twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.logging import get_run_logger
from pydantic import ValidationError

from core.completion import CompletionRequest, ToolChoice
from core.errors import PlanError
from core.message import Message, ToolCallPart, ToolResultPart, user
from core.plan import Plan
from core.settings import first_problem
from tasks.abilities import usable_agents
from tasks.check import check_plan
from tasks.create_plan import CREATE_PLAN, create_plan_tool
from tasks.model_call import DurableModel
from tasks.run import Run

TRIES = 3

Arguments = dict[str, Any]


async def ask_for_plan(
    model: DurableModel, opening: list[Message], accept: Callable[[Arguments], Plan]
) -> Plan:
    """The first plan that ``accept`` takes. It raises PlanError with what is wrong with one.

    Raises:
        PlanError: none of ``TRIES`` plans was accepted; says what was wrong with the last.
    """
    messages = list(opening)
    problem: PlanError | None = None
    for turn in range(1, TRIES + 1):
        completion = await model.complete(planner_request(model.run, messages), turn=turn)
        call = next((c for c in completion.tool_calls if c.name == CREATE_PLAN), None)
        try:
            return accept(_arguments(call))
        except PlanError as error:
            get_run_logger().warning("draft %d of %d: %s", turn, TRIES, error)
            problem = error
            messages += [completion.to_message(), _complaint(completion.tool_calls, error)]
    raise PlanError(f"the model made no usable plan in {TRIES} tries: {problem}")


def planner_request(run: Run, messages: list[Message]) -> CompletionRequest:
    agents = usable_agents(run.services, run.options.model)
    return CompletionRequest(
        messages=tuple(messages),
        route=run.options.model,
        tools=(create_plan_tool(agents, has_small_model(run)),),
        tool_choice=ToolChoice(mode="named", name=CREATE_PLAN),
        parallel_tool_calls=False,
    )


def has_small_model(run: Run) -> bool:
    return run.services.router.uses_only_local_model


def agents_text(run: Run) -> str:
    """The agents that a plan may name, a line each."""
    usable = usable_agents(run.services, run.options.model)
    return "\n".join(f"- {a.name}: {a.description}" for a in usable.values())


def checked_plan(run: Run, values: Arguments) -> Plan:
    """Raises PlanError for what is no plan, or cannot run here."""
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise PlanError(first_problem(error)) from error
    check_plan(plan, run.services, run.options.model)
    return plan


def _arguments(call: ToolCallPart | None) -> Arguments:
    if call is None:
        raise PlanError(f"you must call {CREATE_PLAN}")
    if call.arguments_error:
        raise PlanError(f"arguments: {call.arguments_error}")
    return call.arguments


def _complaint(calls: tuple[ToolCallPart, ...], error: PlanError) -> Message:
    """Every call needs an answer; without any call the complaint is the user's."""
    text = f"This plan cannot run: {error}. Call {CREATE_PLAN} again with a corrected plan."
    if not calls:
        return user(text)
    answers = tuple(
        ToolResultPart(call_id=c.id, name=c.name, text=text, is_error=True) for c in calls
    )
    return Message(role="tool", parts=answers)
