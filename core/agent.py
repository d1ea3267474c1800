"""An agent, as its Markdown file describes it."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, StringConstraints

from core.base import JsonObject, Slug, Value

_WILDCARD = re.compile(r"[*?[]")

ToolEntry = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_*-]{1,64}\??$")]
"""A tool's name or, with ``*``, a pattern of names; a ``?`` at the end makes it optional.

In a YAML list such entries need quotes.
"""


def matching(pattern: str, names: Collection[str]) -> list[str]:
    """The names that fit; a pattern without wildcards is a name."""
    if _WILDCARD.search(pattern) is None:
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatchcase(name, pattern)]


class AgentSpec(Value):
    """Front matter and body of ``agents/<name>.md``. The body is ``prompt``.

    ``description`` is what a planner reads to choose among agents. An entry of ``tools`` that ends
    in ``?`` is for machines that have the tool: elsewhere the agent does without. ``model`` names
    a route, or several of which the first that is configured is taken; ``default`` is the run's.

    ``output_schema`` is a JSON schema that the agent's structured result must fit.
    ``summarize_dropped`` has a model sum up the turns that no longer fit the context, at the price
    of a call each time; without it they are only counted.
    """

    name: Slug
    description: str = Field(min_length=1)
    tools: tuple[ToolEntry, ...] = ()
    model: str | Annotated[tuple[str, ...], Field(min_length=1)] = "default"
    max_turns: int = Field(default=20, ge=1, le=200)
    max_output_tokens: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    output_schema: JsonObject | None = None
    summarize_dropped: bool = False
    prompt: str = Field(min_length=1)

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes it may be run on, the best first."""
        return (self.model,) if isinstance(self.model, str) else self.model

    def tools_among(self, available: Collection[str]) -> tuple[str, ...]:
        """Its tools where ``available`` are there, each once.

        What it cannot do without and is not there stays as it is written, so that whoever looks it
        up fails by its name.
        """
        names: dict[str, None] = {}
        for entry in self.tools:
            pattern = entry.removesuffix("?")
            found = matching(pattern, available)
            names.update(dict.fromkeys(found if found or entry.endswith("?") else [pattern]))
        return tuple(names)
