"""The agent: ask the model, run the tools it calls, until it is done, stuck or out of turns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from agents.stuck import RepetitionDetector
from core.agent import AgentSpec
from core.completion import Completion, CompletionRequest, StopReason, ToolDefinition
from core.message import Message, ToolCallPart, ToolResultPart, system, user
from core.ports import ModelClient, ToolAnswer, ToolRunner

TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class AgentTask:
    """What an agent is to do, with what."""

    spec: AgentSpec
    prompt: str
    tools: tuple[ToolDefinition, ...]
    route: str
    max_turns: int


@dataclass(frozen=True, slots=True)
class AgentOutcome:
    """How it ended. ``text`` is the result where completed, else the reason.

    ``blocked`` is for an agent that could not go on (out of turns, in circles); ``failed`` for one
    that says so itself or whose model stopped short.
    """

    status: Literal["completed", "failed", "blocked"]
    text: str
    output: Any = None
    turns: int = 0


async def run_agent(task: AgentTask, model: ModelClient, tools: ToolRunner) -> AgentOutcome:
    """Runs the loop. Deterministic given the answers, so that a replay asks the same questions.

    Raises whatever ``model`` raises. A tool's failure is an answer to the model, not an error.
    """
    messages: list[Message] = [system(task.spec.prompt), user(task.prompt)]
    state: list[Message] = []
    repetition = RepetitionDetector()
    for turn in range(1, task.max_turns + 1):
        completion = await model.complete(_request(task, [*messages, *state]), turn=turn)
        messages.append(completion.to_message())
        if not completion.tool_calls:
            return _without_calls(completion, turn)
        calls = [c for c in completion.tool_calls if c.name != TERMINATE]
        answers = await _run_calls(calls, tools, turn)
        ends = [c for c in completion.tool_calls if c.name == TERMINATE]
        if end := next((c for c in ends if _refusal(c) is None), None):
            return _terminated(end, completion, turn)
        results = _answers(completion, [a.part for a in answers])
        state = [Message(role="user", parts=a.state) for a in answers if a.state]
        messages.append(Message(role="tool", parts=tuple(results)))
        repetition.observe(completion.tool_calls, results)
        if repetition.stuck:
            return AgentOutcome("blocked", "repeats the same calls without progress", turns=turn)
        if repetition.hint:
            messages.append(user(repetition.hint))
    return AgentOutcome("blocked", f"not done after {task.max_turns} turns", turns=task.max_turns)


def _request(task: AgentTask, messages: list[Message]) -> CompletionRequest:
    return CompletionRequest(
        messages=tuple(messages),
        route=task.route,
        tools=task.tools,
        max_output_tokens=task.spec.max_output_tokens,
        temperature=task.spec.temperature,
    )


async def _run_calls(calls: list[ToolCallPart], tools: ToolRunner, turn: int) -> list[ToolAnswer]:
    """All calls of a turn at once; the first to raise cancels the others."""
    if len(calls) == 1:
        return [await tools.run(calls[0], turn=turn, index=0)]
    try:
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(tools.run(call, turn=turn, index=index))
                for index, call in enumerate(calls)
            ]
    except ExceptionGroup as raised:
        raise raised.exceptions[0] from raised
    return [task.result() for task in running]


def _answers(completion: Completion, results: list[ToolResultPart]) -> list[ToolResultPart]:
    """One answer to each call, in the order of the calls."""
    ran = iter(results)
    return [_refusal(c) or next(ran) for c in completion.tool_calls]


def _without_calls(completion: Completion, turn: int) -> AgentOutcome:
    """An answer in words ends the step, unless the model was cut short or refused."""
    match completion.stop_reason:
        case StopReason.LENGTH:
            reason = "the model's answer was cut at its output limit"
            return AgentOutcome("failed", reason, turns=turn)
        case StopReason.REFUSAL:
            return AgentOutcome("failed", f"the model refused: {completion.text}", turns=turn)
        case _:
            return AgentOutcome("completed", completion.text, turns=turn)


def _refusal(call: ToolCallPart) -> ToolResultPart | None:
    """The error answer to a ``terminate`` that does not say how it ended; None for all else."""
    if call.name != TERMINATE or call.arguments.get("status") in ("success", "failure"):
        return None
    problem = call.arguments_error or "status must be 'success' or 'failure'"
    return ToolResultPart(call_id=call.id, name=TERMINATE, text=problem, is_error=True)


def _terminated(call: ToolCallPart, completion: Completion, turn: int) -> AgentOutcome:
    message = str(call.arguments.get("message") or completion.text or "")
    if call.arguments["status"] == "failure":
        return AgentOutcome("failed", message or "the agent reports failure", turns=turn)
    return AgentOutcome("completed", message, output=call.arguments.get("output"), turns=turn)
