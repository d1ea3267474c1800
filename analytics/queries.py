"""Questions about usage, each answered with frozen figures.

Values are bound as parameters; what stands in the SQL itself comes from the closed sets below.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from analytics.figures import (
    ALL_TIME,
    Dimension,
    ErrorCount,
    Keys,
    LatencyGroup,
    Quantiles,
    ReliabilityGroup,
    Spend,
    SpendGroup,
    ToolGroup,
    Window,
)
from analytics.reader import Usage
from analytics.schema import COLUMNS
from core.usage import UsageEvent

_EXPRESSIONS = {
    Dimension.PROVIDER: "provider_name",
    Dimension.MODEL: "model",
    Dimension.DEPLOYMENT: "deployment",
    Dimension.ROUTE: "route",
    Dimension.AGENT: "agent_name",
    Dimension.WORKFLOW: "workflow_name",
    Dimension.STEP: "step_id",
    Dimension.RUN: "run_key",
    Dimension.DAY: "day",
    Dimension.TAG: "tag",
    Dimension.TOOL: "tool_name",
}

_ONE_ROW_PER_TAG = """(
    SELECT *, unnest(CASE WHEN len(tags) = 0 THEN [NULL] ELSE list_distinct(tags) END) AS tag
    FROM usage_fact
)"""

_SPEND = """
    count(DISTINCT run_key),
    count(*) FILTER (kind = 'model_call'),
    count(*) FILTER (kind = 'model_call' AND outcome = 'error'),
    count(*) FILTER (kind = 'model_call' AND outcome = 'interrupted'),
    count(*) FILTER (cache_hit),
    count(*) FILTER (kind = 'tool_run'),
    coalesce(sum(input_tokens) FILTER (is_paid_call), 0)::BIGINT,
    coalesce(sum(output_tokens) FILTER (is_paid_call), 0)::BIGINT,
    coalesce(sum(cache_read_input_tokens) FILTER (is_paid_call), 0)::BIGINT,
    coalesce(sum(cache_write_input_tokens) FILTER (is_paid_call), 0)::BIGINT,
    coalesce(sum(reasoning_output_tokens) FILTER (is_paid_call), 0)::BIGINT,
    coalesce(sum(spent_usd), 0),
    coalesce(sum(saved_usd), 0),
    count(*) FILTER (is_unpriced)
"""

_QUANTILES = "quantile_cont({column}, [0.5, 0.95, 0.99])"


def totals(usage: Usage, window: Window = ALL_TIME) -> Spend:
    """Everything in the window added up."""
    return spend_by(usage, (), window)[0].spend


def spend_by(
    usage: Usage, dimensions: Sequence[Dimension], window: Window = ALL_TIME
) -> tuple[SpendGroup, ...]:
    """Spend of model calls, tool runs and reused steps, a group per combination, dearest first.

    By ``day`` alone, in the order of days. Without dimensions, exactly one group.
    """
    order = "1" if list(dimensions) == [Dimension.DAY] else "spent DESC, tokens DESC"
    sort = "sum(spent_usd) AS spent, sum(input_tokens + output_tokens) AS tokens"
    where = "(kind IN ('model_call', 'tool_run') OR (kind = 'step' AND cache_hit))"
    rows = _grouped(usage, dimensions, f"{_SPEND}, {sort}", where, window, order)
    names = Spend.model_fields
    return tuple(
        SpendGroup(keys=keys, spend=Spend(**dict(zip(names, row, strict=False))))
        for keys, row in rows
    )


def latency_by(
    usage: Usage, dimensions: Sequence[Dimension], window: Window = ALL_TIME
) -> tuple[LatencyGroup, ...]:
    """How long answered model calls took, the busiest group first."""
    select = ", ".join(
        [
            "count(*) AS calls",
            _QUANTILES.format(column="duration_seconds"),
            _QUANTILES.format(column="time_to_first_chunk_seconds"),
            "median(output_tokens / nullif(duration_seconds, 0))",
        ]
    )
    rows = _grouped(usage, dimensions, select, "is_paid_call AND outcome = 'ok'", window)
    # Without dimensions there is one group even if it is empty.
    return tuple(
        LatencyGroup(
            keys=keys,
            calls=calls,
            duration=_quantiles(duration),
            first_token=_quantiles(first_token),
            tokens_per_second=speed,
        )
        for keys, (calls, duration, first_token, speed) in rows
        if calls
    )


def reliability_by(
    usage: Usage, dimensions: Sequence[Dimension], window: Window = ALL_TIME
) -> tuple[ReliabilityGroup, ...]:
    """How tries at models ended, the busiest group first."""
    select = """
        count(*) AS calls,
        count(*) FILTER (outcome = 'error'),
        count(*) FILTER (outcome = 'interrupted'),
        count(*) FILTER (outcome = 'ok' AND try_index > 0),
        count(*) FILTER (outcome = 'ok')
    """
    rows = _grouped(usage, dimensions, select, "is_paid_call", window)
    return tuple(
        ReliabilityGroup(
            keys=keys,
            tries=tries,
            errors=errors,
            interrupted=interrupted,
            failovers=failovers,
            error_rate=errors / tries,
            failover_rate=failovers / answered if answered else None,
        )
        for keys, (tries, errors, interrupted, failovers, answered) in rows
        if tries
    )


def errors_by(
    usage: Usage, dimensions: Sequence[Dimension], window: Window = ALL_TIME
) -> tuple[ErrorCount, ...]:
    """Failed model calls and tool runs by type of error, the most frequent first."""
    select = "coalesce(error_type, 'unknown') AS error_type, count(*) AS calls"
    where = "kind IN ('model_call', 'tool_run') AND outcome = 'error'"
    rows = _grouped(usage, dimensions, select, where, window)
    return tuple(
        ErrorCount(keys=keys, error_type=error_type, count=count)
        for keys, (error_type, count) in rows
    )


def tools(usage: Usage, window: Window = ALL_TIME) -> tuple[ToolGroup, ...]:
    """How tool runs ended and how long the successful ones took, the busiest tool first."""
    select = f"""
        count(*) AS calls,
        count(*) FILTER (outcome = 'ok'),
        count(*) FILTER (outcome = 'error'),
        count(*) FILTER (outcome = 'interrupted'),
        {_QUANTILES.format(column="duration_seconds")} FILTER (outcome = 'ok')
    """
    rows = _grouped(usage, [Dimension.TOOL], select, "kind = 'tool_run'", window)
    return tuple(
        ToolGroup(
            tool=keys[Dimension.TOOL],
            runs=runs,
            succeeded=succeeded,
            failed=failed,
            interrupted=interrupted,
            success_rate=succeeded / runs,
            duration=_quantiles(duration),
        )
        for keys, (runs, succeeded, failed, interrupted, duration) in rows
    )


def calls_of(usage: Usage, run_key: str) -> tuple[UsageEvent, ...]:
    """Every model call and tool run of a run in the order of time, failed tries included."""
    columns = ", ".join("ts AT TIME ZONE 'UTC'" if c == "ts" else c for c in COLUMNS)
    query = f"""
        SELECT {columns} FROM usage_fact
        WHERE run_key = $run_key AND kind IN ('model_call', 'tool_run')
        ORDER BY ts, step_id, attempt, turn, call_index, try_index, event_id
    """
    return tuple(_event(row) for row in usage.rows(query, {"run_key": run_key}))


def recent_model_calls(usage: Usage, since: datetime) -> tuple[UsageEvent, ...]:
    """Every try of a model call from ``since`` (aware) on, in the order of time."""
    columns = ", ".join("ts AT TIME ZONE 'UTC'" if c == "ts" else c for c in COLUMNS)
    query = (
        f"SELECT {columns} FROM usage_fact WHERE kind = 'model_call' AND ts >= $since ORDER BY ts"
    )
    return tuple(_event(row) for row in usage.rows(query, {"since": since}))


def _event(row: tuple[Any, ...]) -> UsageEvent:
    values = dict(zip(COLUMNS, row, strict=True))
    values["ts"] = values["ts"].replace(tzinfo=UTC)
    values["raw_usage"] = json.loads(values["raw_usage"])
    return UsageEvent.model_validate(values)


def _grouped(
    usage: Usage,
    dimensions: Sequence[Dimension],
    select: str,
    where: str,
    window: Window,
    order: str = "calls DESC",
) -> list[tuple[Keys, tuple[Any, ...]]]:
    """Rows of ``select`` with the values of the dimensions taken apart from the rest."""
    source = _ONE_ROW_PER_TAG if Dimension.TAG in dimensions else "usage_fact"
    keys = [f"{_EXPRESSIONS[d]}::VARCHAR AS key_{d}" for d in dimensions]
    bounds, parameters = _bounds(window)
    query = f"""
        SELECT {", ".join([*keys, select])} FROM {source}
        WHERE {" AND ".join([where, *bounds])}
        GROUP BY ALL
        ORDER BY {", ".join([order, *(f"key_{d} NULLS LAST" for d in dimensions)])}
    """
    width = len(dimensions)
    rows = usage.rows(query, parameters)
    return [(dict(zip(dimensions, row[:width], strict=True)), row[width:]) for row in rows]


def _bounds(window: Window) -> tuple[list[str], dict[str, Any]]:
    comparisons = {"since": "ts >= $since", "until": "ts < $until", "run_key": "run_key = $run_key"}
    given = {k: v for k, v in window.model_dump().items() if v is not None}
    return [comparisons[name] for name in given], given


def _quantiles(values: list[float] | None) -> Quantiles:
    p50, p95, p99 = values or (None, None, None)
    return Quantiles(p50=p50, p95=p95, p99=p99)
