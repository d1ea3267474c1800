"""How an agent's work ends: by ``terminate``, by a tool that ends it, or by an answer in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from core.base import JsonObject
from core.completion import Completion, StopReason, ToolDefinition
from core.message import ToolCallPart, ToolResultPart
from core.ports import ToolAnswer

TERMINATE = "terminate"


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


def with_output_schema(
    tools: tuple[ToolDefinition, ...], schema: JsonObject | None
) -> tuple[ToolDefinition, ...]:
    """The tools with ``terminate`` asking for an ``output`` that fits the schema."""
    if schema is None:
        return tools
    return tuple(_asking_for(t, schema) if t.name == TERMINATE else t for t in tools)


def _asking_for(terminate: ToolDefinition, schema: JsonObject) -> ToolDefinition:
    """References of the schema begin at its root, so its definitions move to the new root."""
    definitions = {k: v for k, v in schema.items() if k in ("$defs", "definitions")}
    inner = {k: v for k, v in schema.items() if k not in definitions and k != "$schema"}
    properties = {**terminate.parameters["properties"], "output": inner}
    text = f"{terminate.description} With 'success', 'output' is required and must fit its schema."
    parameters = {**terminate.parameters, "properties": properties, **definitions}
    return terminate.model_copy(update={"description": text, "parameters": parameters})


def schema_problem(output: Any, schema: JsonObject | None) -> str | None:
    """Why ``output`` does not fit, None where it does."""
    if schema is None:
        return None
    from jsonschema.validators import validator_for
    from referencing import Registry

    # With a registry of its own a schema cannot have anything fetched.
    nothing: Registry[Any] = Registry()
    validator: Any = validator_for(schema)(schema, registry=nothing)
    errors = sorted(validator.iter_errors(output), key=lambda e: list(map(str, e.absolute_path)))
    if not errors:
        return None
    place = "".join(f".{part}" for part in errors[0].absolute_path)
    return f"output{place}: {errors[0].message[:500]}"


def refusal(call: ToolCallPart, schema: JsonObject | None) -> ToolAnswer | None:
    """The error answer to a ``terminate`` that cannot end the work; None for all else."""
    if call.name != TERMINATE:
        return None
    status = call.arguments.get("status")
    if call.arguments_error or status not in ("success", "failure"):
        problem = call.arguments_error or "status must be 'success' or 'failure'"
    elif status == "success" and (found := schema_problem(call.arguments.get("output"), schema)):
        problem = f"{found}. Call {TERMINATE} again with an output that fits its schema."
    else:
        return None
    part = ToolResultPart(call_id=call.id, name=TERMINATE, text=problem, is_error=True)
    return ToolAnswer(part=part)


def by_terminate(call: ToolCallPart, completion: Completion, turn: int) -> AgentOutcome:
    """The outcome that a ``terminate`` without a ``refusal`` states."""
    message = str(call.arguments.get("message") or completion.text or "")
    if call.arguments["status"] == "failure":
        return AgentOutcome("failed", message or "the agent reports failure", turns=turn)
    return AgentOutcome("completed", message, output=call.arguments.get("output"), turns=turn)


def held_to_schema(answer: ToolAnswer, schema: JsonObject | None) -> ToolAnswer:
    """The answer of any tool; one that would end the work must bring an output that fits."""
    if answer.terminated != "success":
        return answer
    problem = schema_problem(answer.output, schema)
    if problem is None:
        return answer
    part = answer.part.model_copy(update={"text": problem, "is_error": True})
    return ToolAnswer(part=part, state=answer.state)


def by_tool(answer: ToolAnswer, turn: int) -> AgentOutcome:
    """The outcome that a tool states which ends the work."""
    status = "completed" if answer.terminated == "success" else "failed"
    return AgentOutcome(status, answer.part.text, output=answer.output, turns=turn)


def in_words(completion: Completion, schema: JsonObject | None, turn: int) -> AgentOutcome | None:
    """The outcome of an answer without calls; None where a structured result is still owed."""
    match completion.stop_reason:
        case StopReason.LENGTH:
            reason = "the model's answer was cut at its output limit"
            return AgentOutcome("failed", reason, turns=turn)
        case StopReason.REFUSAL:
            return AgentOutcome("failed", f"the model refused: {completion.text}", turns=turn)
        case _:
            pass
    if schema is None:
        return AgentOutcome("completed", completion.text, turns=turn)
    try:
        output = json.loads(completion.text)
    except ValueError:
        return None
    if schema_problem(output, schema):
        return None
    return AgentOutcome("completed", completion.text, output=output, turns=turn)
