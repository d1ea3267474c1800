"""The usage report as one HTML file that loads nothing: tables, and bars in inline SVG."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from html import escape

from analytics.figures import ALL_TIME, Dimension, SpendGroup, Window
from analytics.queries import spend_by
from analytics.reader import Usage
from analytics.report import Table, report

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8884; text-align: left; }
.number { text-align: right; }
.note { color: #b45309; }
.scroll { overflow-x: auto; }
svg { width: 100%; height: auto; }
rect { fill: #2563eb; }
text { fill: currentColor; font: 11px system-ui, sans-serif; }
"""

_CHART_WIDTH = 900
_CHART_HEIGHT = 180
_LABEL_HEIGHT = 20
_MAX_LABELS = 12


def usage_page(usage: Usage, window: Window = ALL_TIME, *, made_at: datetime) -> str:
    """The whole page; ``made_at`` is shown as it is given."""
    tables = report(usage, window)
    days = spend_by(usage, (Dimension.DAY,), window)
    sections = "\n".join(_section(table) for table in tables)
    made = escape(made_at.isoformat(sep=" ", timespec="minutes"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Usage</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Usage</h1>
<p>As of {made}. Days are in UTC.</p>
{_chart(days)}
{sections}
</body>
</html>
"""


def _section(table: Table) -> str:
    kinds = ["" if c.unit == "text" else ' class="number"' for c in table.columns]
    head = "".join(f"<th{k}>{escape(h)}</th>" for k, h in zip(kinds, table.headers, strict=True))
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{k}>{escape(c)}</td>" for k, c in zip(kinds, row, strict=True))
        + "</tr>"
        for row in table.text_rows
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f"<h2>{escape(table.title)}</h2>\n"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n{note}"
    )


def _chart(days: tuple[SpendGroup, ...]) -> str:
    """Cost by day; tokens by day where no price is known."""
    if not days:
        return "<p>Nothing has been used yet.</p>"
    priced = any(d.spend.cost_usd for d in days)
    title = "Cost per day, USD" if priced else "Tokens per day"
    values = [
        float(d.spend.cost_usd) if priced else d.spend.input_tokens + d.spend.output_tokens
        for d in days
    ]
    dates = [date.fromisoformat(d.keys[Dimension.DAY] or "") for d in days]
    bars = "\n".join(_bars(dates, values))
    height = _CHART_HEIGHT + _LABEL_HEIGHT
    return (
        f"<h2>{title}</h2>\n"
        f'<svg viewBox="0 0 {_CHART_WIDTH} {height}" role="img" aria-label="{title}">\n'
        f"{bars}\n</svg>"
    )


def _bars(dates: list[date], values: list[float]) -> Iterator[str]:
    """One bar per date, with gaps where days are missing."""
    slots = (dates[-1] - dates[0]).days + 1
    slot = _CHART_WIDTH / slots
    tallest = max(values) or 1
    label_every = -(-slots // _MAX_LABELS)
    next_label = 0
    for day, value in zip(dates, values, strict=True):
        index = (day - dates[0]).days
        left = index * slot + slot * 0.1
        height = value / tallest * _CHART_HEIGHT
        yield (
            f'<rect x="{left:.1f}" y="{_CHART_HEIGHT - height:.1f}" '
            f'width="{min(slot * 0.8, 60):.1f}" height="{height:.1f}">'
            f"<title>{day}: {value:,.6g}</title></rect>"
        )
        if index >= next_label:
            yield f'<text x="{left:.1f}" y="{_CHART_HEIGHT + _LABEL_HEIGHT - 5}">{day}</text>'
            next_label = index + label_every
