"""What a table says, in figures computed from all of its rows. Runs in the sandbox."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from tools.charts.in_sandbox.table import Column, Table
from tools.charts.in_sandbox.times import COARSER, TimeUnit, floor, shown

MAX_INSIGHTS = 20
_MEASURES = 3
_POINTS = 40
_STRONG_CORRELATION = 0.3
Insight = dict[str, Any]
Series = list[tuple[str, float]]


def insights(table: Table, design: dict[str, Any]) -> list[Insight]:
    """Insights numbered from 1, those of the chart's ``measure`` first.

    A measure whose title matches the pattern ``averaged`` is averaged where others are summed.
    """
    quantities = [c for c in table.columns if c.kind == "quantitative" and _numbers(c)]
    quantities.sort(key=lambda c: c.field != design.get("measure"))
    found: list[Insight] = []
    for measure in quantities[:_MEASURES]:
        mean = bool(re.search(design["averaged"], measure.title, re.IGNORECASE))
        for axis in table.columns:
            if axis.kind in ("temporal", "year"):
                found += _over_time(axis, measure, mean)
            elif axis.kind == "nominal":
                found += _among(axis, measure, mean)
        found += _spread(measure)
    found += _correlations(quantities)
    found += _missing(table)
    return [{"id": number, **insight} for number, insight in enumerate(found[:MAX_INSIGHTS], 1)]


def _numbers(column: Column) -> list[float]:
    return [value for value in column.values if value is not None]


def _series(axis: Column, measure: Column, mean: bool) -> Series:
    """The measure by the axis; times in order, categories by size."""
    groups: dict[Any, list[float]] = {}
    unit = _unit(axis)
    for key, value in zip(axis.values, measure.values, strict=True):
        if key is not None and value is not None:
            if axis.kind == "temporal":
                key = floor(key, unit)
            groups.setdefault(key, []).append(value)
    values = {k: statistics.fmean(v) if mean else math.fsum(v) for k, v in groups.items()}
    if axis.kind == "nominal":
        return sorted(((str(k), v) for k, v in values.items()), key=lambda pair: -pair[1])
    named = str if axis.kind == "year" else partial(shown, unit=unit)
    return [(named(key), values[key]) for key in sorted(values)]


def _unit(axis: Column) -> TimeUnit:
    """The finest unit of the data that still gives points one can speak of."""
    unit = axis.time_unit or "year"
    if axis.kind == "temporal":
        times = {time for time in axis.values if time is not None}
        while unit != "year" and len({floor(time, unit) for time in times}) > _POINTS:
            unit = COARSER[unit]
    return unit


def _over_time(axis: Column, measure: Column, mean: bool) -> Iterator[Insight]:
    series = _series(axis, measure, mean)
    if len(series) < 3:
        return
    values = [value for _, value in series]
    slope, intercept = statistics.linear_regression(range(len(values)), values)
    fitted = [intercept + slope * index for index in range(len(values))]
    change = (values[-1] - values[0]) / abs(values[0]) if values[0] else None
    figures = {
        "first": series[0],
        "last": series[-1],
        "change": change,
        "slope": slope,
        "r_squared": _explained(values, fitted),
        "unit": _unit(axis),
    }
    yield _insight("trend", measure, axis, figures, mean)
    yield _extremes(series, measure, axis, mean)


def _explained(values: Sequence[float], fitted: Sequence[float]) -> float:
    """The share of the variance that the line explains; 0 for a constant series."""
    middle = statistics.fmean(values)
    total = math.fsum((v - middle) ** 2 for v in values)
    rest = math.fsum((v - f) ** 2 for v, f in zip(values, fitted, strict=True))
    return max(0.0, 1 - rest / total) if total else 0.0


def _among(axis: Column, measure: Column, mean: bool) -> Iterator[Insight]:
    series = _series(axis, measure, mean)
    if not 2 <= len(series) <= 1000:
        return
    yield _extremes(series, measure, axis, mean)
    total = math.fsum(value for _, value in series)
    if mean or total <= 0 or series[-1][1] < 0:
        return
    shares = [(name, value / total) for name, value in series]
    figures = {
        "top": shares[0],
        "top_three": math.fsum(s for _, s in shares[:3]),
        "categories": len(shares),
        "total": total,
    }
    yield _insight("share", measure, axis, figures, mean)


def _extremes(series: Series, measure: Column, axis: Column, mean: bool) -> Insight:
    highest, lowest = max(series, key=lambda p: p[1]), min(series, key=lambda p: p[1])
    figures = {"highest": highest, "lowest": lowest}
    return _insight("extremes", measure, axis, figures, mean)


def _spread(measure: Column) -> Iterator[Insight]:
    """Quartiles, and what lies beyond them by 1.5 times their distance (Tukey)."""
    values = _numbers(measure)
    if len(values) < 8:
        return
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    figures: dict[str, Any] = {
        "count": len(values),
        "mean": statistics.fmean(values),
        "median": middle,
        "quartiles": (low, high),
    }
    yield _insight("distribution", measure, None, figures, False)
    reach = 1.5 * (high - low)
    outliers = [v for v in values if v < low - reach or v > high + reach]
    if outliers and reach:
        outliers.sort(key=lambda v: -abs(v - middle))
        figures = {"count": len(outliers), "of": len(values), "farthest": outliers[:3]}
        figures["bounds"] = (low - reach, high + reach)
        yield _insight("outliers", measure, None, figures, False)


def _correlations(quantities: list[Column]) -> Iterator[Insight]:
    for one, other in itertools.combinations(quantities[: _MEASURES + 1], 2):
        pairs = [
            (a, b)
            for a, b in zip(one.values, other.values, strict=True)
            if a is not None and b is not None
        ]
        if len(pairs) < 5 or len({a for a, _ in pairs}) < 2 or len({b for _, b in pairs}) < 2:
            continue
        r = statistics.correlation([a for a, _ in pairs], [b for _, b in pairs])
        if abs(r) >= _STRONG_CORRELATION:
            yield _insight("correlation", one, other, {"r": r, "count": len(pairs)}, False)


def _missing(table: Table) -> Iterator[Insight]:
    for column in table.columns:
        gaps = sum(value is None for value in column.values)
        if gaps:
            yield _insight("missing", column, None, {"count": gaps, "of": table.rows}, False)


def _insight(
    kind: str, measure: Column, axis: Column | None, figures: dict[str, Any], mean: bool
) -> Insight:
    return {
        "type": kind,
        "measure": measure.title,
        "by": axis.title if axis else None,
        "aggregate": "mean" if mean else "sum",
        "figures": figures,
    }
