"""Choosing a chart by rules: what the columns are, how many values they have, what the title says.

Groups, bins and samples are made of the whole table before anything is drawn, so the figures are
exact however large it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from core.base import JsonObject
from core.errors import ToolFailedError
from tools.charts import marks
from tools.charts.model import ChartDesign, ColumnProfile, TableProfile, TimeUnit

MAX_SERIES = 8
MAX_SLICES = 8
MAX_POINTS_IN_TIME = 400
SAMPLED_POINTS = 3000
TOP_CATEGORIES = 20
_SHARE = re.compile(r"share|proportion|percent|breakdown|composition|占比|比例|构成", re.IGNORECASE)
_RELATION = re.compile(r"correlat|relation|versus|\bvs\b|scatter|相关|关系|散点", re.IGNORECASE)
_TREND = re.compile(
    r"trend|over time|daily|weekly|monthly|yearly|annual|growth|by (day|week|month|quarter|year)"
    r"|趋势|随时间|每日|每月|每年|增长|变化",
    re.IGNORECASE,
)
_SPREAD = re.compile(r"distribution|histogram|spread|分布|直方", re.IGNORECASE)
AVERAGED = re.compile(
    r"price|rate|ratio|average|\bavg|mean|median|temperature|score|percent|%|age$|height|weight"
    r"|duration|latency|率|均|温|价|评分|比例",
    re.IGNORECASE,
)
"""Names of measures that mean nothing when summed."""

_DAYS: dict[TimeUnit, float] = {
    "second": 1 / 86400,
    "hour": 1 / 24,
    "day": 1,
    "month": 30.4,
    "quarter": 91.3,
    "year": 365.25,
}


@dataclass(frozen=True, slots=True)
class _Choice:
    """The columns in the order in which they would be drawn."""

    title: str
    times: list[ColumnProfile]
    measures: list[ColumnProfile]
    categories: list[ColumnProfile]


def choose(profile: TableProfile, title: str) -> ChartDesign:
    """A chart of this table.

    Raises:
        ToolFailedError: no column can be drawn.
    """
    order = _by_mention(title)
    choice = _Choice(
        title,
        sorted((c for c in profile.of_kind("temporal", "year") if c.distinct > 1), key=order),
        sorted((c for c in profile.of_kind("quantitative") if c.distinct), key=order),
        sorted((c for c in profile.of_kind("nominal") if c.distinct), key=order),
    )
    if _named_category(choice):
        choice = replace(choice, times=[])
    return (
        _by_title(choice)
        or _over_time(choice)
        or _by_category(choice)
        or _of_measures(choice)
        or _counted(choice, profile)
    )


def _by_mention(title: str) -> Callable[[ColumnProfile], int]:
    """Sort key: columns that the title names come first, in its order."""
    lowered = title.lower()

    def place(column: ColumnProfile) -> int:
        found = lowered.find(column.title.lower().replace("_", " "))
        return found if found >= 0 else len(lowered)

    return place


def _named_category(choice: _Choice) -> bool:
    """Whether the title asks for categories and not for the course of time."""
    if not choice.categories or _TREND.search(choice.title):
        return False
    lowered = choice.title.lower()
    named = [c.title.lower().replace("_", " ") in lowered for c in choice.categories[:1]]
    timed = [c.title.lower().replace("_", " ") in lowered for c in choice.times]
    return any(named) and not any(timed)


def _by_title(choice: _Choice) -> ChartDesign | None:
    """What the title asks for, where the columns allow it."""
    if _RELATION.search(choice.title) and len(choice.measures) >= 2:
        return _scatter(choice)
    if _SPREAD.search(choice.title) and choice.measures and not choice.categories:
        return _histogram(choice)
    return None


def _over_time(choice: _Choice) -> ChartDesign | None:
    if not choice.times:
        return None
    time = choice.times[0]
    unit = _unit(time)
    series = next((c for c in choice.categories if 2 <= c.distinct <= MAX_SERIES), None)
    measure = choice.measures[0] if choice.measures else None
    reduction = _group([time, series], measure)
    reduction["time_unit"] = unit
    return _design(choice, marks.line(time, measure, series, unit), reduction, measure)


def _unit(time: ColumnProfile) -> TimeUnit | None:
    """The finest unit of the data that still gives a line and not a brush."""
    if time.kind == "year" or time.time_unit is None:
        return None
    units = list(_DAYS)
    for unit in units[units.index(time.time_unit) :]:
        if min(time.distinct, (time.span_days or 0) / _DAYS[unit]) <= MAX_POINTS_IN_TIME:
            return unit
    return "year"


def _by_category(choice: _Choice) -> ChartDesign | None:
    if not choice.categories or not choice.measures:
        return None
    category, measure = choice.categories[0], choice.measures[0]
    averaged = bool(AVERAGED.search(measure.title))
    positive = isinstance(measure.lowest, float | int) and measure.lowest >= 0
    few = 2 <= category.distinct <= MAX_SLICES
    if _SHARE.search(choice.title) and few and positive and not averaged:
        spec = marks.pie(category, measure)
        return _design(choice, spec, _group([category], measure), measure)
    others = choice.categories[1:]
    series = next((c for c in others if 2 <= c.distinct <= MAX_SERIES), None)
    reduction = {**_group([category, series], measure), "top": TOP_CATEGORIES}
    spec = marks.bar(category, measure, series, stacked=not averaged)
    return _design(choice, spec, reduction, measure)


def _of_measures(choice: _Choice) -> ChartDesign | None:
    match choice.measures:
        case []:
            return None
        case [_]:
            return _histogram(choice)
        case _:
            return _scatter(choice)


def _scatter(choice: _Choice) -> ChartDesign:
    x, y = choice.measures[:2]
    series = next((c for c in choice.categories if 2 <= c.distinct <= MAX_SERIES), None)
    fields = [column.field for column in (x, y, series) if column]
    reduction: JsonObject = {"kind": "sample", "fields": fields, "count": SAMPLED_POINTS}
    return _design(choice, marks.scatter(x, y, series), reduction, y)


def _histogram(choice: _Choice) -> ChartDesign:
    measure = choice.measures[0]
    reduction: JsonObject = {"kind": "bin", "field": measure.field}
    return _design(choice, marks.histogram(measure), reduction, measure)


def _counted(choice: _Choice, profile: TableProfile) -> ChartDesign:
    if not choice.categories:
        kinds = ", ".join(f"{c.title} ({c.kind})" for c in profile.columns)
        raise ToolFailedError(f"no column can be drawn: {kinds}")
    first, *more = choice.categories
    if more and max(first.distinct, more[0].distinct) <= TOP_CATEGORIES:
        return _design(choice, marks.heatmap(first, more[0]), _group([first, more[0]], None), None)
    reduction = {**_group([first], None), "top": TOP_CATEGORIES}
    return _design(choice, marks.bar(first, None, None), reduction, None)


def _group(by: list[ColumnProfile | None], measure: ColumnProfile | None) -> JsonObject:
    mean = measure is not None and bool(AVERAGED.search(measure.title))
    return {
        "kind": "group",
        "by": [column.field for column in by if column],
        "measure": measure.field if measure else None,
        "aggregate": "mean" if mean else "sum",
    }


def _design(
    choice: _Choice, spec: JsonObject, reduction: JsonObject, measure: ColumnProfile | None
) -> ChartDesign:
    titled = {"title": choice.title, **spec}
    return ChartDesign(spec=titled, reduction=reduction, measure=measure.field if measure else None)
