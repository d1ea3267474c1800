"""The rows of usage analytics and the limits of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from core.base import JsonObject, Value

SEMCONV_VERSION = "opentelemetry-genai-1.3"


class UsageEvent(Value):
    """One row: a model call, a tool run, a step or a run.

    Column names follow OpenTelemetry's GenAI conventions, dots as underscores. ``event_id`` is
    deterministic for what is committed with a record, so that emitting it again adds nothing.
    ``input_tokens`` includes cache reads and writes. ``cost_usd`` is ``None`` where unknown.
    ``outcome`` is ``interrupted`` for a call whose process died before its answer was recorded, and
    for a try that was given up since another deployment answered first. ``cost_source`` says where
    the price is from (``genai-prices``, ``override``, ``local`` or ``unknown``), ``price_version``
    of which release of the lists.
    ``try_index`` counts the tries begun before this one within the same call.
    ``replayed`` marks a row emitted again from a committed record of the same run.
    """

    event_id: str
    ts: datetime = Field(default_factory=lambda: datetime.now(UTC))
    kind: Literal["model_call", "tool_run", "step", "run"]
    outcome: Literal["ok", "error", "interrupted"] = "ok"
    error_type: str | None = None
    run_key: str
    flow_run_id: str | None = None
    step_id: str | None = None
    attempt: int | None = None
    turn: int | None = None
    call_index: int | None = None
    try_index: int = 0
    operation_name: str
    workflow_name: str | None = None
    agent_name: str | None = None
    tool_name: str | None = None
    provider_name: str | None = None
    deployment: str | None = None
    route: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    cost_usd: Decimal | None = None
    cost_source: str | None = None
    price_version: str | None = None
    duration_seconds: float = 0.0
    time_to_first_chunk_seconds: float | None = None
    replayed: bool = False
    cache_hit: bool = False
    sandbox: str | None = None
    tags: tuple[str, ...] = ()
    raw_usage: JsonObject = Field(default_factory=dict)
    semconv_version: str = SEMCONV_VERSION


class Budget(Value):
    """Limits of one run; ``None`` is no limit. Checked before each model call, settled after it.

    ``max_wall_seconds`` is over all processes that work on the run, the time between them left out.
    """

    max_tokens: int | None = Field(default=None, gt=0)
    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    max_wall_seconds: float | None = Field(default=None, gt=0)
    max_model_calls: int | None = Field(default=None, gt=0)


class SpendLimit(Value):
    """What all runs of one MANUS_HOME may spend in a day; ``None`` is no limit."""

    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)


class BudgetSettings(Value):
    """``[budgets.day]`` over all calls, ``[budgets.tags.NAME]`` over those of runs with that tag.

    Each holds for a day of ``timezone`` (an IANA name; default UTC), over all processes that use
    this MANUS_HOME, on top of each run's own budget.
    """

    timezone: str = "UTC"
    day: SpendLimit = SpendLimit()
    tags: dict[str, SpendLimit] = Field(default_factory=dict)

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no time zone '{name}'") from error
        return name

    @property
    def limits(self) -> dict[str, SpendLimit]:
        """By scope, ``day`` or ``tags.NAME``; only those that limit anything."""
        every = {"day": self.day, **{f"tags.{name}": limit for name, limit in self.tags.items()}}
        return {scope: limit for scope, limit in every.items() if limit != SpendLimit()}
