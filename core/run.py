"""What a caller may ask of a run beyond its goal or plan."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from core.base import Value
from core.usage import Budget

Decision = Literal["allow", "ask", "deny"]


class ApprovalPolicy(Value):
    """What becomes of a call of a high-risk tool, one that can change things outside the run.

    ``untrusted`` is for calls that a model makes with strangers' words in view: a web page, an MCP
    result, a file the caller gave, or anything that an earlier step made of such.
    """

    high_risk: Decision = "allow"
    untrusted: Decision = "deny"


class Utterance(Value):
    """Something said before a run; ``untrusted`` where strangers' words were in view."""

    role: Literal["user", "assistant"]
    text: str
    untrusted: bool = False


class RunOptions(Value):
    """Options of the flows; every one has a sane default. The texts are shown in the UI's form."""

    vars: dict[str, Any] = Field(
        default_factory=dict, description="Values for a plan's templates, over its own."
    )
    inputs: tuple[str, ...] = Field(
        default=(),
        description="Paths of files that the run gets as data/NAME; a relative path is one of the "
        "project.",
    )
    model: str = Field(
        default="default",
        description="The route, or provider:model, for whatever names none of its own.",
    )
    max_parallel_steps: int | None = Field(
        default=None, ge=1, le=200, description="Left out: as configured under [run]."
    )
    max_replans: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="How often a model may revise the plan around steps that failed. Left out: "
        "once for a plan that a model drafted, never for a given one.",
    )
    approvals: ApprovalPolicy | Decision | None = Field(
        default=None,
        description="What becomes of calls of high-risk tools; one word stands for both cases. "
        "Left out: as configured under [run.approvals].",
    )
    trust_inputs: bool = Field(
        default=False,
        description="Whether you answer for what the input files say; else they count as "
        "strangers' words.",
    )
    budget: Budget | None = Field(
        default=None, description="Limits of this run. Left out: as configured under [run.budget]."
    )
    tags: tuple[str, ...] = Field(default=(), description="They go into every usage row.")
    resume_from: str | None = Field(
        default=None, description="The key of a run to go on with; all else but budget is kept."
    )
    conversation: tuple[Utterance, ...] = Field(
        default=(), description="What was said before; agents see it before their step."
    )
    files_of: str | None = Field(
        default=None,
        description="The key of a single agent's run, with whose files the agent of this one "
        "begins.",
    )
