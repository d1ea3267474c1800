"""A plan: a DAG of steps, the same format whether an operator or a model wrote it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.base import JsonObject, Slug, Value
from core.errors import PlanError

MAX_STEPS = 500
DATA_DIRECTORY = "data"
"""Beside the steps' directories in a workspace; therefore no step may have this id."""

OnUnknown = Literal["rerun", "ask", "fail"]


class PlanStep(Value):
    """One step.

    ``kind`` decides what runs: ``agent`` a tool-calling loop of ``agent``; ``tool`` the tool
    ``tool`` with ``args`` and no model; ``completion`` one model call with ``instructions``,
    answering with an object of ``output_schema`` where one is given. An agent's structured result
    must fit ``output_schema`` too, or the agent's own.

    ``model`` names a route, or one deployment as ``provider:model``. ``tools`` narrows the agent's
    own list. ``retries`` counts further attempts after an honest failure; infrastructure errors
    have their own. An ``optional`` step's failure neither fails the run nor skips its dependants.
    ``on_unknown`` says what to do with a tool call found in flight on resume; ``None`` leaves it
    to the tool. ``cache_ttl_seconds`` lets a later run take the step's result over, for so long, as
    long as everything that decides it is the same. With ``approval`` a person is asked before the
    step begins.
    """

    id: Slug
    title: str = Field(min_length=1, max_length=200)
    instructions: str = Field(default="", max_length=50_000)
    kind: Literal["agent", "tool", "completion"] = "agent"
    agent: str = "manus"
    tool: str | None = None
    args: JsonObject = Field(default_factory=dict)
    output_schema: JsonObject | None = None
    depends_on: tuple[Slug, ...] = ()
    model: str | None = None
    tools: tuple[str, ...] | None = None
    max_turns: int | None = Field(default=None, ge=1, le=200)
    timeout_seconds: float = Field(default=900.0, gt=0, le=86_400)
    retries: int = Field(default=0, ge=0, le=10)
    optional: bool = False
    approval: bool = False
    on_unknown: OnUnknown | None = None
    cache_ttl_seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "tool" and not self.tool:
            raise ValueError("a step of kind 'tool' needs 'tool'")
        if self.kind != "tool" and (self.tool or self.args):
            raise ValueError(f"'tool' and 'args' are for kind 'tool', not '{self.kind}'")
        if self.kind == "tool" and self.output_schema:
            raise ValueError("'output_schema' is for kind 'agent' or 'completion'")
        if self.kind != "tool" and not self.instructions.strip():
            raise ValueError(f"a step of kind '{self.kind}' needs 'instructions'")
        return self


class Plan(Value):
    """Steps and what they are for.

    ``author`` decides about templates: an operator's plan may use ``{{ steps.a.output.rows }}`` and
    ``{{ vars.x }}``, a model's is taken literally. ``version`` grows by one with each revision.
    ``summarize`` asks a model for the run's summary at the end; without it, the last steps' own
    summaries serve. ``untrusted``: it was written in the light of what strangers wrote.
    """

    id: Slug = "plan"
    title: str = Field(min_length=1, max_length=200)
    goal: str = Field(default="", max_length=50_000)
    version: int = Field(default=1, ge=1)
    author: Literal["operator", "model"] = "operator"
    vars: dict[str, Any] = Field(default_factory=dict)
    summarize: bool = True
    untrusted: bool = False
    steps: tuple[PlanStep, ...] = Field(min_length=1, max_length=MAX_STEPS)

    def step(self, step_id: str) -> PlanStep:
        """Raises KeyError for an unknown id."""
        return next((s for s in self.steps if s.id == step_id), None) or _missing(step_id)

    def dependants(self) -> dict[str, tuple[str, ...]]:
        """For each step, the ids of the steps that name it in ``depends_on``."""
        return {s.id: tuple(d.id for d in self.steps if s.id in d.depends_on) for s in self.steps}


def _missing(step_id: str) -> PlanStep:
    raise KeyError(step_id)


def check_structure(plan: Plan) -> None:
    """Raises PlanError for a reserved or duplicate id, a dangling dependency or a cycle."""
    repeated, times = Counter(s.id for s in plan.steps).most_common(1)[0]
    if times > 1:
        raise PlanError(f"step '{repeated}': this id is used {times} times", step_id=repeated)
    known = {s.id for s in plan.steps}
    if DATA_DIRECTORY in known:
        raise PlanError(f"step '{DATA_DIRECTORY}': this id is reserved", step_id=DATA_DIRECTORY)
    for step in plan.steps:
        for dependency in step.depends_on:
            if dependency not in known:
                raise PlanError(
                    f"step '{step.id}': depends on '{dependency}', which is not in the plan",
                    step_id=step.id,
                )
    topological_order(plan)


def topological_order(plan: Plan) -> tuple[str, ...]:
    """Step ids, every step after what it depends on; ties keep the plan's order.

    Raises:
        PlanError: a cycle; the message walks it.
    """
    waiting = {s.id: set(s.depends_on) for s in plan.steps}
    order: list[str] = []
    while waiting:
        ready = [i for i, needs in waiting.items() if not needs & waiting.keys()]
        if not ready:
            cycle = _walk_cycle(waiting)
            raise PlanError(f"step '{cycle[0]}': cycle {' -> '.join(cycle)}", step_id=cycle[0])
        order += ready
        for step_id in ready:
            del waiting[step_id]
    return tuple(order)


def _walk_cycle(waiting: dict[str, set[str]]) -> list[str]:
    """A path of dependencies among ``waiting`` that returns to where it began."""
    path = [next(iter(waiting))]
    while True:
        following = min(waiting[path[-1]] & waiting.keys())
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
