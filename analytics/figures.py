"""What queries take and give: filters, dimensions, and rows of figures."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, model_validator

from core.base import Value


class Dimension(StrEnum):
    """What usage can be grouped by. ``day`` is in UTC.

    A row with two tags counts under each, so figures by ``tag`` do not add up to the totals.
    ``model`` is the one asked for: a failed try has no other.
    """

    PROVIDER = "provider"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    ROUTE = "route"
    AGENT = "agent"
    WORKFLOW = "workflow"
    STEP = "step"
    RUN = "run"
    DAY = "day"
    TAG = "tag"
    TOOL = "tool"


class Window(Value):
    """Which rows count: ``since`` is included, ``until`` is not; ``None`` is no bound."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    run_key: str | None = None

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("'since' must be before 'until'")
        return self


ALL_TIME = Window()


def _without_trailing_zeros(amount: Decimal) -> Decimal:
    whole = amount.to_integral_value()
    return whole.quantize(Decimal(1)) if amount == whole else amount.normalize()


Usd = Annotated[Decimal, AfterValidator(_without_trailing_zeros)]

Keys = dict[Dimension, str | None]
"""One value per dimension asked for; ``None`` where the rows have none."""


class Spend(Value):
    """What was used and what it cost.

    ``model_calls`` counts tries, the failed ones too. ``cache_hits`` counts those of them that the
    response cache answered, and steps taken over from earlier runs. Their tokens and cost are not
    counted: what they would have cost is ``saved_usd``. ``input_tokens``
    includes cache reads and writes. ``cost_usd`` sums the known prices, ``unpriced_calls`` counts
    the answered or interrupted calls whose price is unknown.
    """

    runs: int
    model_calls: int
    errors: int
    interrupted: int
    cache_hits: int
    tool_runs: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: Usd
    saved_usd: Usd
    unpriced_calls: int


class SpendGroup(Value):
    keys: Keys
    spend: Spend


class Quantiles(Value):
    """Interpolated between the two nearest values; ``None`` where there are none."""

    p50: float | None
    p95: float | None
    p99: float | None


class LatencyGroup(Value):
    """Answered model calls that reached a provider, in seconds.

    ``first_token`` is over the streamed calls only. ``tokens_per_second`` is the median of output
    tokens over the whole duration of a call.
    """

    keys: Keys
    calls: int
    duration: Quantiles
    first_token: Quantiles
    tokens_per_second: float | None


class ReliabilityGroup(Value):
    """How tries ended. Response-cache hits are not tries.

    ``error_rate`` is errors over tries. ``failover_rate`` is, of the answered calls, the part
    that this group answered only after another try of the same call had failed.
    """

    keys: Keys
    tries: int
    errors: int
    interrupted: int
    failovers: int
    error_rate: float
    failover_rate: float | None


class ErrorCount(Value):
    keys: Keys
    error_type: str
    count: int


class ToolGroup(Value):
    """Runs of one tool; ``success_rate`` is over all of them, interrupted ones included."""

    tool: str | None
    runs: int
    succeeded: int
    failed: int
    interrupted: int
    success_rate: float
    duration: Quantiles
