"""Insights in English."""

from __future__ import annotations

from typing import Any

from tools.charts.model import Insight

NO_TREND = 0.2
"""Below this share of explained variance a line says nothing."""


def number(value: float) -> str:
    """Up to four significant digits, large ones with separators."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def sentence(insight: Insight) -> str:
    match insight.type:
        case "trend":
            return _trend(insight)
        case "extremes":
            return _extremes(insight)
        case "share":
            return _share(insight)
        case "distribution":
            return _distribution(insight)
        case "outliers":
            return _outliers(insight)
        case "correlation":
            return _correlation(insight)
        case "missing":
            f = insight.figures
            return f"{insight.measure} is missing in {f['count']} of {f['of']} rows."


def _measure(insight: Insight) -> str:
    return f"mean {insight.measure}" if insight.aggregate == "mean" else insight.measure


def _trend(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    (start, first), (end, last) = f["first"], f["last"]
    percent = "" if f["change"] is None else f" ({f['change']:+.1%})"
    if f["r_squared"] < NO_TREND:
        return (
            f"{_measure(insight)} shows no clear trend (R² {f['r_squared']:.2f}): "
            f"{number(first)} in {start}, {number(last)} in {end}{percent}."
        )
    verb = "rose" if last > first else "fell" if last < first else "stayed"
    return (
        f"{_measure(insight)} {verb} from {number(first)} ({start}) to {number(last)} "
        f"({end}){percent}; the linear trend is {f['slope']:+.4g} per {f['unit'] or 'point'}, "
        f"R² {f['r_squared']:.2f}."
    )


def _extremes(insight: Insight) -> str:
    (high, most), (low, least) = insight.figures["highest"], insight.figures["lowest"]
    return (
        f"By {insight.by}, {_measure(insight)} is highest for {high} ({number(most)}) and lowest "
        f"for {low} ({number(least)})."
    )


def _share(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    top, part = f["top"]
    more = ""
    if f["categories"] > 3:
        more = f"; the top three of {f['categories']} make {f['top_three']:.1%}"
    return f"{top} makes {part:.1%} of all {insight.measure} ({number(f['total'])}){more}."


def _distribution(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    low, high = map(number, f["quartiles"])
    return (
        f"{insight.measure} has a median of {number(f['median'])} and a mean of "
        f"{number(f['mean'])}; the middle half lies between {low} and {high} "
        f"({f['count']} values)."
    )


def _outliers(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    low, high = map(number, f["bounds"])
    farthest = ", ".join(map(number, f["farthest"]))
    return (
        f"{f['count']} of {f['of']} values of {insight.measure} are outliers (outside {low} to "
        f"{high}); the farthest: {farthest}."
    )


def _correlation(insight: Insight) -> str:
    r, count = insight.figures["r"], insight.figures["count"]
    kind = "positively" if r > 0 else "negatively"
    return f"{insight.measure} and {insight.by} correlate {kind} (r = {r:.2f}, n = {count})."
