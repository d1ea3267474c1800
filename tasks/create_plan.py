"""The tool that a model is made to call with its plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.base import JsonObject
from core.completion import ToolDefinition

CREATE_PLAN = "create_plan"
SMALL_MODEL_STEPS = 3
"""The built-in model repeats itself beyond that."""


def create_plan_tool(agents: Iterable[str], small_model: bool) -> ToolDefinition:
    """The tool, with the agents that may be named.

    A small model cannot keep a graph's references straight: it gives a short list of steps, which
    ``chained`` turns into a plan.
    """
    step = _listed_step() if small_model else _graph_step(sorted(agents))
    most = SMALL_MODEL_STEPS if small_model else 200
    steps = {"type": "array", "items": step, "minItems": 1, "maxItems": most}
    return ToolDefinition(
        name=CREATE_PLAN,
        description="Submit the plan.",
        parameters=_object(title={"type": "string", "maxLength": 200}, steps=steps),
    )


def chained(arguments: JsonObject) -> JsonObject:
    """A list of steps as a plan: each step after the one before it, by the general agent."""
    listed: list[dict[str, Any]] = arguments.get("steps") or []
    steps = [
        {**step, "id": f"step-{n}", "depends_on": [f"step-{n - 1}"] if n > 1 else []}
        for n, step in enumerate(listed, start=1)
    ]
    return {**arguments, "steps": steps}


def _graph_step(agents: list[str]) -> JsonObject:
    identifier = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"}
    return _object(
        id=identifier,
        title={"type": "string", "maxLength": 200},
        instructions={"type": "string", "maxLength": 4000},
        agent={"type": "string", "enum": agents},
        depends_on={"type": "array", "items": {"type": "string"}, "maxItems": 100},
    )


def _listed_step() -> JsonObject:
    return _object(
        title={"type": "string", "minLength": 1, "maxLength": 60},
        instructions={"type": "string", "minLength": 1, "maxLength": 200},
    )


def _object(**properties: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
