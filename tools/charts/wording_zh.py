"""Insights in Chinese."""
# ruff: noqa: RUF001 - full-width punctuation is right here

from __future__ import annotations

from typing import Any

from tools.charts.model import Insight
from tools.charts.wording_en import NO_TREND, number


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
            return f"{insight.measure}：{f['of']} 行中有 {f['count']} 行缺失。"


def _measure(insight: Insight) -> str:
    return f"{insight.measure}均值" if insight.aggregate == "mean" else insight.measure


def _trend(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    (start, first), (end, last) = f["first"], f["last"]
    percent = "" if f["change"] is None else f"（{f['change']:+.1%}）"
    if f["r_squared"] < NO_TREND:
        return (
            f"{_measure(insight)}没有明显趋势（R² {f['r_squared']:.2f}）："
            f"{start} 为 {number(first)}，{end} 为 {number(last)}{percent}。"
        )
    return (
        f"{_measure(insight)}从 {start} 的 {number(first)} 变为 {end} 的 {number(last)}{percent}；"
        f"线性趋势每期 {f['slope']:+.4g}，R² 为 {f['r_squared']:.2f}。"
    )


def _extremes(insight: Insight) -> str:
    (high, most), (low, least) = insight.figures["highest"], insight.figures["lowest"]
    return (
        f"按 {insight.by}，{_measure(insight)}最高为 {high}（{number(most)}），"
        f"最低为 {low}（{number(least)}）。"
    )


def _share(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    top, part = f["top"]
    more = f"，前三名合计占 {f['top_three']:.1%}" if f["categories"] > 3 else ""
    return f"{top} 占 {insight.measure} 总量（{number(f['total'])}）的 {part:.1%}{more}。"


def _distribution(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    low, high = map(number, f["quartiles"])
    return (
        f"{insight.measure}：中位数 {number(f['median'])}，均值 {number(f['mean'])}，"
        f"中间一半在 {low} 与 {high} 之间（{f['count']} 个值）。"
    )


def _outliers(insight: Insight) -> str:
    f: dict[str, Any] = insight.figures
    low, high = map(number, f["bounds"])
    farthest = ", ".join(map(number, f["farthest"]))
    return (
        f"{insight.measure} 的 {f['of']} 个值中有 {f['count']} 个离群"
        f"（在 {low} 至 {high} 之外），最远的是 {farthest}。"
    )


def _correlation(insight: Insight) -> str:
    r, count = insight.figures["r"], insight.figures["count"]
    kind = "正" if r > 0 else "负"
    return f"{insight.measure} 与 {insight.by} {kind}相关（r = {r:.2f}，n = {count}）。"
