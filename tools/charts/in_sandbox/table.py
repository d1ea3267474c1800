"""Reads a table of the workspace and tells what its columns are. Runs in the sandbox."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tools.charts.in_sandbox.times import TimeUnit, finest_unit, read_times

Kind = Literal["quantitative", "temporal", "year", "nominal", "identifier"]

MAX_ROWS = 1_000_000
MAX_COLUMNS = 200
_SAME_KIND = 0.95
_NULLS = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
_NUMBER = re.compile(r"[-+]?[$€£¥]?\s?(\d{1,3}(,\d{3})+|\d+|(?=\.))(\.\d+)?([eE][-+]?\d+)?\s?%?")
_PLAIN_NAME = re.compile(r"\w+( \w+)*")
_IDENTIFIER = re.compile(r"(^|[_ ])(id|uuid|guid|key|code|no|zip)$|编号|代码", re.IGNORECASE)
_YEAR = re.compile(r"year|年", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """``values`` are floats, datetimes, ints (years) or texts by ``kind``; None where missing.

    ``field`` is the name in a chart's data: the ``title`` where that needs no escaping there.
    """

    field: str
    title: str
    kind: Kind
    values: list[Any]
    texts: list[str | None]
    time_unit: TimeUnit | None = None


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[Column, ...]
    rows: int

    def column(self, field: str) -> Column:
        return next(c for c in self.columns if c.field == field)


def read_table(path: str) -> Table:
    """A CSV (comma, semicolon, tab or bar) or JSON table.

    JSON is a list of objects, or an object with one such list under ``data``.

    Raises:
        ValueError: no table, or a larger one than is read.
    """
    content = Path(path).read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    header, rows = _json_rows(text) if path.lower().endswith(".json") else _csv_rows(text)
    if not header or not rows:
        raise ValueError("the table has no rows")
    if len(rows) > MAX_ROWS or len(header) > MAX_COLUMNS:
        raise ValueError(f"larger than {MAX_ROWS} rows or {MAX_COLUMNS} columns")
    columns: list[Column] = []
    for index, title in enumerate(header):
        texts = [row[index] if index < len(row) else None for row in rows]
        columns.append(_column(_field(title, index, columns), title, texts))
    return Table(tuple(columns), len(rows))


def _csv_rows(text: str) -> tuple[list[str], list[list[str | None]]]:
    try:
        dialect = csv.Sniffer().sniff(text[:65536].rpartition("\n")[0] or text, ",;\t|")
        delimiter = dialect.delimiter
    except csv.Error:
        delimiter = ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = next(reader, list[str]())
    rows: list[list[str | None]] = [[_cell(c) for c in row] for row in reader if row]
    return [name.strip() for name in header], rows


def _cell(text: str) -> str | None:
    stripped = text.strip()
    return None if stripped.lower() in _NULLS else stripped


def _json_rows(text: str) -> tuple[list[str], list[list[str | None]]]:
    data: Any = json.loads(text)
    found: Any = cast("dict[str, Any]", data).get("data") if isinstance(data, dict) else data
    records = cast("list[dict[str, Any]]", found)
    if not isinstance(found, list) or not all(
        isinstance(r, dict) for r in cast("list[Any]", found)
    ):
        raise ValueError("the JSON is not a list of objects")
    names = list(dict.fromkeys(str(name) for record in records for name in record))
    return names, [[_json_cell(record.get(name)) for name in names] for record in records]


def _json_cell(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _cell(value)
    return json.dumps(value, ensure_ascii=False)


def _field(title: str, index: int, before: Sequence[Column]) -> str:
    taken = {column.field for column in before}
    return title if _PLAIN_NAME.fullmatch(title) and title not in taken else f"column_{index + 1}"


def _column(field: str, title: str, texts: list[str | None]) -> Column:
    present = [text for text in texts if text is not None]
    numbers = _numbers(texts, present)
    if numbers is not None:
        whole = [int(n) for n in numbers if n is not None and n == int(n)]
        if len(whole) == len(present) and _are_years(title, whole):
            years = [None if n is None else int(n) for n in numbers]
            return Column(field, title, "year", years, texts, "year")
        if len(whole) == len(present) and _are_identifiers(title, whole):
            return Column(field, title, "identifier", list(texts), texts)
        return Column(field, title, "quantitative", list(numbers), texts)
    times = read_times(texts, _SAME_KIND)
    if times is not None:
        return Column(field, title, "temporal", list(times), texts, finest_unit(times))
    distinct = len(set(present))
    unique = distinct == len(present) > 20 and bool(_IDENTIFIER.search(title))
    return Column(field, title, "identifier" if unique else "nominal", list(texts), texts)


def _are_years(title: str, whole: list[int]) -> bool:
    return bool(whole and _YEAR.search(title)) and all(1800 <= n <= 2200 for n in whole)


def _are_identifiers(title: str, whole: list[int]) -> bool:
    return bool(_IDENTIFIER.search(title)) and len(set(whole)) == len(whole)


def _numbers(texts: list[str | None], present: list[str]) -> list[float | None] | None:
    """None where too little of the column is numbers; what is not is missing then."""
    found = [None if text is None else _number(text) for text in texts]
    count = sum(number is not None for number in found)
    return found if present and count >= _SAME_KIND * len(present) else None


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    return float(re.sub(r"[$€£¥,%\s]", "", text))


def profile(table: Table) -> dict[str, Any]:
    """What a chart is chosen by; samples and labels are cut."""
    return {"rows": table.rows, "columns": [_describe(column) for column in table.columns]}


def _describe(column: Column) -> dict[str, Any]:
    present = [value for value in column.values if value is not None]
    described: dict[str, Any] = {
        "field": column.field,
        "title": column.title[:200],
        "kind": column.kind,
        "distinct": len(set(present)),
        "missing": len(column.values) - len(present),
        "samples": list(dict.fromkeys(t[:60] for t in column.texts[:1000] if t is not None))[:5],
        "time_unit": column.time_unit,
        "longest_label": max((len(text) for text in column.texts if text is not None), default=0),
    }
    if column.kind in ("quantitative", "year", "temporal") and present:
        low, high = min(present), max(present)
        described["lowest"], described["highest"] = _shown(low), _shown(high)
        if column.kind == "temporal":
            described["span_days"] = (high - low).total_seconds() / 86400
    if column.kind == "nominal":
        described["labels"] = sorted(set(map(str, present)))[:60]
    return described


def _shown(value: Any) -> Any:
    return value if isinstance(value, float | int) else value.isoformat()
