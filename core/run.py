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
    """Options of ``plan_and_run``; every one has a sane default.

    ``inputs`` are paths of files that the run gets as ``data/``; a relative path is one of the
    project, not of the directory that a worker happens to stand in. ``vars`` are for a plan's
    templates. ``model`` is the route for whatever names none. ``resume_from`` is the key of a run
    whose committed work is taken over. ``max_parallel_steps`` and ``budget`` default to the
    configuration's, as does ``approvals``; one word there stands for both its cases. The files in
    ``inputs`` count as strangers' words unless ``trust_inputs``. ``max_replans`` bounds how often a
    model may revise the plan around steps that failed; left out, once for a plan that a model
    drafted and never for a given one. ``tags`` go into every usage row.

    ``conversation`` is what was said before; agents see it before their step. ``files_of`` is the
    key of a run of a single agent, whose files the agent of this one begins with.
    """

    vars: dict[str, Any] = Field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    model: str = "default"
    max_parallel_steps: int | None = Field(default=None, ge=1, le=200)
    max_replans: int | None = Field(default=None, ge=0, le=20)
    approvals: ApprovalPolicy | Decision | None = None
    trust_inputs: bool = False
    budget: Budget | None = None
    tags: tuple[str, ...] = ()
    resume_from: str | None = None
    conversation: tuple[Utterance, ...] = ()
    files_of: str | None = None
