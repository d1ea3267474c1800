"""Texts as vectors: what is asked for and what comes back, the same for every provider."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from core.base import Value
from core.completion import CostSource, TokenUsage


class EmbeddingRequest(Value):
    """Texts to embed; none may be empty.

    Vectors of different models cannot be compared: one index takes those of one model. ``model``
    names it; without it, it is that of the route's first deployment, whichever answers.
    ``dimensions`` is for models that can shorten their vectors. ``purpose`` tells models that
    embed what is searched unlike what is searched for. ``timeout_seconds`` bounds one try.
    """

    texts: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    route: str = "default"
    model: str | None = None
    dimensions: int | None = Field(default=None, gt=0)
    purpose: Literal["document", "query"] = "document"
    timeout_seconds: float = Field(default=120.0, gt=0)


class Embeddings(Value):
    """One vector per text, in the order of the texts.

    ``model`` is the one that says it answered. ``usage`` has input tokens only. What is said of
    costs, times and tries is as in ``Completion``.
    """

    vectors: tuple[tuple[float, ...], ...]
    provider: str
    deployment: str
    model: str
    usage: TokenUsage = TokenUsage()
    cost_usd: Decimal | None = None
    cost_source: CostSource = "unknown"
    price_version: str | None = None
    latency_seconds: float = 0.0
    request_id: str | None = None
    try_index: int = 0

    @property
    def dimensions(self) -> int:
        return len(self.vectors[0]) if self.vectors else 0

    @property
    def time_to_first_token_seconds(self) -> float | None:
        """Vectors come whole."""
        return None
