"""Points in time of a table: recognised by whole columns, cut to units. Runs in the sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Literal

TimeUnit = Literal["year", "quarter", "month", "day", "hour", "second"]

COARSER: Mapping[TimeUnit, TimeUnit] = MappingProxyType(
    {"second": "hour", "hour": "day", "day": "month", "month": "quarter", "quarter": "year"}
)
_FORMATS = (
    "%Y-%m",
    "%Y/%m/%d",
    "%Y/%m",
    "%Y.%m.%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%b %Y",
    "%B %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%Y年%m月%d日",
    "%Y年%m月",
    "%Y年",
)
_QUARTER = re.compile(r"(\d{4})\s?-?\s?[Qq]([1-4])|[Qq]([1-4])[ -]?(\d{4})")
_MAYBE_TIME = re.compile(r"\d.*[-/.:\s年QqTt]|[A-Za-z]{3,9}\.? .*\d|[Qq][1-4]")


def read_times(texts: Sequence[str | None], share: float) -> list[datetime | None] | None:
    """The times of a column all of one format; None where less than ``share`` of it fits any.

    Month first is tried before day first, so a column is day first only where it has to be. Time
    zones are dropped: charts show the clock of the data.
    """
    present = [text for text in texts if text is not None]
    sample = present[:200]
    if not sample or sum(bool(_MAYBE_TIME.search(t)) for t in sample) < share * len(sample):
        return None
    for form in (None, "quarter", *_FORMATS):
        if sum(_read(text, form) is not None for text in sample) < share * len(sample):
            continue
        found = [None if text is None else _read(text, form) for text in texts]
        if sum(time is not None for time in found) >= share * len(present):
            return found
    return None


def _read(text: str, form: str | None) -> datetime | None:
    try:
        if form is None:
            return datetime.fromisoformat(text).replace(tzinfo=None)
        if form == "quarter":
            return _quarter(text)
        return datetime.strptime(text, form)
    except ValueError:
        return None


def _quarter(text: str) -> datetime | None:
    match = _QUARTER.fullmatch(text)
    if match is None:
        return None
    year, quarter = match[1] or match[4], match[2] or match[3]
    return datetime(int(year), 3 * int(quarter) - 2, 1)


def finest_unit(times: Sequence[datetime | None]) -> TimeUnit:
    """The coarsest unit that loses nothing."""
    present = [time for time in times if time is not None]
    units: tuple[TimeUnit, ...] = ("year", "quarter", "month", "day", "hour")
    for unit in units:
        if all(floor(time, unit) == time for time in present):
            return unit
    return "second"


def floor(time: datetime, unit: TimeUnit) -> datetime:
    match unit:
        case "year":
            return datetime(time.year, 1, 1)
        case "quarter":
            return datetime(time.year, time.month - (time.month - 1) % 3, 1)
        case "month":
            return datetime(time.year, time.month, 1)
        case "day":
            return datetime(time.year, time.month, time.day)
        case "hour":
            return time.replace(minute=0, second=0, microsecond=0)
        case "second":
            return time


def shown(time: datetime, unit: TimeUnit) -> str:
    """For readers, as exact as the unit."""
    match unit:
        case "year":
            return f"{time:%Y}"
        case "quarter":
            return f"{time:%Y} Q{(time.month + 2) // 3}"
        case "month":
            return f"{time:%Y-%m}"
        case "day":
            return f"{time:%Y-%m-%d}"
        case _:
            return f"{time:%Y-%m-%d %H:%M}"
