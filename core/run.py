"""What a caller may ask of a run beyond its goal or plan."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from core.base import Value
from core.usage import Budget


class RunOptions(Value):
    """Options of ``plan_and_run``; every one has a sane default.

    ``inputs`` are paths of files that the run gets as ``data/``; a relative path is one of the
    project, not of the directory that a worker happens to stand in. ``vars`` are for a plan's
    templates. ``model`` is the route for whatever names none. ``resume_from`` is the key of a run
    whose committed work is taken over. ``max_parallel_steps`` and ``budget`` default to the
    configuration's. ``tags`` go into every usage row.
    """

    vars: dict[str, Any] = Field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    model: str = "default"
    max_parallel_steps: int | None = Field(default=None, ge=1, le=200)
    max_replans: int = Field(default=0, ge=0, le=0)
    budget: Budget | None = None
    tags: tuple[str, ...] = ()
    resume_from: str | None = None
