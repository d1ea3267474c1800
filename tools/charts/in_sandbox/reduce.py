"""Brings a table down to what a chart draws, exactly: by groups, by bins, or by rows.

Runs in the sandbox. What is left out is told in a note for the chart's reader, never dropped
silently.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tools.charts.in_sandbox.table import Table
from tools.charts.in_sandbox.times import floor

MAX_DRAWN_ROWS = 20_000
Rows = list[dict[str, Any]]


def reduced(table: Table, how: dict[str, Any]) -> tuple[Rows, str | None]:
    """The rows to draw, and what to say of those that are not.

    Raises:
        ValueError: more rows than can be drawn.
    """
    match how["kind"]:
        case "group":
            return _grouped(table, how)
        case "bin":
            return _binned(table, how), None
        case "sample":
            return _sampled(_rows(table, how["fields"], set()), how["count"])
        case _:
            if table.rows > MAX_DRAWN_ROWS:
                raise ValueError(
                    f"{table.rows} rows; at most {MAX_DRAWN_ROWS} are drawn: aggregate them first"
                )
            fields = [column.field for column in table.columns]
            return _rows(table, fields, set(how.get("temporal", ()))), None


def _rows(table: Table, fields: Iterable[str], temporal: set[str]) -> Rows:
    """Times as local ISO text: text without a time would be taken for UTC and could slip a day."""
    columns: list[tuple[str, list[Any]]] = []
    for field in fields:
        column = table.column(field)
        if column.kind == "temporal":
            columns.append((field, column.values if field in temporal else list(column.texts)))
        else:
            columns.append((field, column.values))
    cells = zip(*(values for _, values in columns), strict=True)
    names = [field for field, _ in columns]
    return [{n: _json(v) for n, v in zip(names, row, strict=True)} for row in cells]


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _grouped(table: Table, how: dict[str, Any]) -> tuple[Rows, str | None]:
    by: list[str] = how["by"]
    keys = [_keys(table, field, how.get("time_unit")) for field in by]
    measure: str | None = how["measure"]
    values: list[Any] = table.column(measure).values if measure else [1.0] * table.rows
    groups: dict[tuple[Any, ...], list[float]] = {}
    for key, value in zip(zip(*keys, strict=True), values, strict=True):
        if value is not None and None not in key:
            groups.setdefault(key, []).append(value)
    name = measure or "count"
    mean = how["aggregate"] == "mean"
    sums = {k: math.fsum(v) / (len(v) if mean else 1) for k, v in groups.items()}
    sums, note = _top(sums, how.get("top"), mean=mean)
    rows = [{**dict(zip(by, map(_json, key), strict=True)), name: v} for key, v in sums.items()]
    return sorted(rows, key=lambda row: str(row[by[0]])), note


def _keys(table: Table, field: str, unit: Any) -> list[Any]:
    column = table.column(field)
    if column.kind != "temporal" or unit is None:
        return column.values
    return [None if time is None else floor(time, unit) for time in column.values]


def _top(
    sums: dict[tuple[Any, ...], float], top: int | None, *, mean: bool
) -> tuple[dict[tuple[Any, ...], float], str | None]:
    """The largest categories of the first key; for sums the rest becomes one, ``Other``."""
    totals: dict[Any, float] = {}
    for key, value in sums.items():
        totals[key[0]] = totals.get(key[0], 0.0) + value
    if top is None or len(totals) <= top:
        return sums, None
    kept = set(sorted(totals, key=lambda name: -totals[name])[:top])
    shown = {key: value for key, value in sums.items() if key[0] in kept}
    if mean:
        return shown, f"the {top} highest of {len(totals)}"
    for key, value in sums.items():
        if key[0] not in kept:
            other = ("Other", *key[1:])
            shown[other] = shown.get(other, 0.0) + value
    return shown, f"the {top} largest of {len(totals)}; the rest is 'Other'"


def _binned(table: Table, how: dict[str, Any]) -> Rows:
    """About as many bins as the square root of the rows, of a round width."""
    values = [v for v in table.column(how["field"]).values if v is not None]
    low, high = min(values), max(values)
    width = _round_width((high - low) / min(40, max(5, round(math.sqrt(len(values))))))
    first = math.floor(low / width)
    counts: dict[int, int] = dict.fromkeys(range(first, math.floor(high / width) + 1), 0)
    for value in values:
        counts[math.floor(value / width)] += 1
    return [{"from": i * width, "to": (i + 1) * width, "count": n} for i, n in counts.items()]


def _round_width(width: float) -> float:
    if width <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width)


def _sampled(rows: Rows, count: int) -> tuple[Rows, str | None]:
    complete = [row for row in rows if None not in row.values()]
    if len(complete) <= count:
        return complete, None
    chosen = random.Random(0).sample(complete, count)
    return chosen, f"a random sample of {count} of {len(complete)} points"
