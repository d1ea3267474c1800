"""An agent, as its Markdown file describes it."""

from __future__ import annotations

from pydantic import Field

from core.base import Slug, Value


class AgentSpec(Value):
    """Front matter and body of ``agents/<name>.md``. The body is ``prompt``.

    ``description`` is what a planner reads to choose among agents. ``model`` names a route.
    """

    name: Slug
    description: str = Field(min_length=1)
    tools: tuple[str, ...] = ()
    model: str = "default"
    max_turns: int = Field(default=20, ge=1, le=200)
    max_output_tokens: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    prompt: str = Field(min_length=1)
