"""The usage report: tables of plain data, for a terminal, a Prefect artifact or a page."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from analytics import queries
from analytics.figures import ALL_TIME, Dimension, Keys, Spend, Window
from analytics.reader import Usage
from core.base import Value

Cell = str | int | float | Decimal | None
Unit = Literal["text", "count", "usd", "seconds", "share", "rate"]


class Column(Value):
    """``unit`` decides how cells are written; text is aligned left, everything else right."""

    title: str
    unit: Unit = "text"


class Table(Value):
    """A table with a title. ``None`` is "not known" and is shown as ``-``, never as 0."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def headers(self) -> tuple[str, ...]:
        return tuple(c.title for c in self.columns)

    @property
    def text_rows(self) -> tuple[tuple[str, ...], ...]:
        """The cells as people read them."""
        return tuple(
            tuple(_written(c, column.unit) for c, column in zip(row, self.columns, strict=True))
            for row in self.rows
        )


def report(usage: Usage, window: Window = ALL_TIME) -> tuple[Table, ...]:
    """All tables of the report; one without rows is left out, but for the totals."""
    tables = (
        spend_table(usage, "By day", (Dimension.DAY,), window),
        spend_table(usage, "By provider and model", _PROVIDER_MODEL, window),
        spend_table(usage, "By agent", (Dimension.AGENT,), window),
        spend_table(usage, "By workflow", (Dimension.WORKFLOW,), window),
        spend_table(usage, "By tag", (Dimension.TAG,), window),
        latency_table(usage, window),
        reliability_table(usage, window),
        tool_table(usage, window),
    )
    return (totals_table(usage, window), *(t for t in tables if t.rows))


_PROVIDER_MODEL = (Dimension.PROVIDER, Dimension.MODEL)


def totals_table(usage: Usage, window: Window = ALL_TIME) -> Table:
    spend = queries.totals(usage, window)
    return Table(
        title="Totals",
        columns=(Column(title="Runs", unit="count"), *_SPEND_COLUMNS),
        rows=((spend.runs, *_spend_cells(spend)),),
        note=_unpriced_note(spend.unpriced_calls),
    )


def spend_table(
    usage: Usage, title: str, dimensions: tuple[Dimension, ...], window: Window = ALL_TIME
) -> Table:
    """Spend by the dimensions; without rows where no group has a name (no call has a tag, say).

    Tool runs that have none of the dimensions are left out: they have a table of their own.
    """
    found = queries.spend_by(usage, dimensions, window)
    groups = [g for g in found if g.spend.model_calls or any(g.keys.values())]
    named = any(any(g.keys.values()) for g in groups)
    rows = tuple((*_key_cells(g.keys), *_spend_cells(g.spend)) for g in groups) if named else ()
    return Table(title=title, columns=(*_key_columns(dimensions), *_SPEND_COLUMNS), rows=rows)


def latency_table(usage: Usage, window: Window = ALL_TIME) -> Table:
    seconds = ("p50", "p95", "p99", "First token p50", "First token p95")
    return Table(
        title="Latency of answered calls",
        columns=(
            *_key_columns(_PROVIDER_MODEL),
            Column(title="Calls", unit="count"),
            *(Column(title=title, unit="seconds") for title in seconds),
            Column(title="Tokens/s", unit="rate"),
        ),
        rows=tuple(
            (
                *_key_cells(g.keys),
                g.calls,
                *(g.duration.p50, g.duration.p95, g.duration.p99),
                *(g.first_token.p50, g.first_token.p95),
                g.tokens_per_second,
            )
            for g in queries.latency_by(usage, _PROVIDER_MODEL, window)
        ),
    )


def reliability_table(usage: Usage, window: Window = ALL_TIME) -> Table:
    dimensions = (Dimension.DEPLOYMENT,)
    counts = ("Tries", "Errors", "Interrupted", "Failovers")
    return Table(
        title="Errors and failovers",
        columns=(
            *_key_columns(dimensions),
            *(Column(title=title, unit="count") for title in counts),
            Column(title="Error rate", unit="share"),
            Column(title="Failover rate", unit="share"),
        ),
        rows=tuple(
            (
                *_key_cells(g.keys),
                *(g.tries, g.errors, g.interrupted, g.failovers),
                *(g.error_rate, g.failover_rate),
            )
            for g in queries.reliability_by(usage, dimensions, window)
        ),
    )


def tool_table(usage: Usage, window: Window = ALL_TIME) -> Table:
    counts = ("Runs", "Succeeded", "Failed", "Interrupted")
    return Table(
        title="Tools",
        columns=(
            Column(title="Tool"),
            *(Column(title=title, unit="count") for title in counts),
            Column(title="Success rate", unit="share"),
            Column(title="p50", unit="seconds"),
            Column(title="p95", unit="seconds"),
        ),
        rows=tuple(
            (
                *(t.tool, t.runs, t.succeeded, t.failed, t.interrupted),
                *(t.success_rate, t.duration.p50, t.duration.p95),
            )
            for t in queries.tools(usage, window)
        ),
    )


def to_markdown(tables: Iterable[Table]) -> str:
    """The tables as Markdown, one heading each."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    rules = ("---" if c.unit == "text" else "---:" for c in table.columns)
    lines = [table.headers, rules, *table.text_rows]
    body = "\n".join("| " + " | ".join(_escaped(c) for c in line) + " |" for line in lines)
    note = f"\n{table.note}\n" if table.note else ""
    return f"### {table.title}\n\n{body}\n{note}"


def _escaped(cell: str) -> str:
    """A model's or an operator's text stays text inside one cell."""
    one_line = " ".join(cell.split())
    return "".join(f"\\{c}" if c in "\\|<>[]`*_" else c for c in one_line)


_SPEND_COLUMNS = (
    Column(title="Calls", unit="count"),
    Column(title="Errors", unit="count"),
    Column(title="Cache hits", unit="count"),
    Column(title="Tool runs", unit="count"),
    Column(title="Input tokens", unit="count"),
    Column(title="Output tokens", unit="count"),
    Column(title="Cost", unit="usd"),
    Column(title="Saved", unit="usd"),
    Column(title="Unpriced", unit="count"),
)


_SMALLEST_SHOWN_USD = Decimal("0.0001")


def _spend_cells(spend: Spend) -> tuple[Cell, ...]:
    """The cost is not known, instead of 0, where every paid call lacks a price."""
    known = spend.cost_usd if spend.cost_usd or not spend.unpriced_calls else None
    return (
        *(spend.model_calls, spend.errors, spend.cache_hits, spend.tool_runs),
        *(spend.input_tokens, spend.output_tokens),
        *(known, spend.saved_usd, spend.unpriced_calls),
    )


def _key_columns(dimensions: tuple[Dimension, ...]) -> tuple[Column, ...]:
    return tuple(Column(title=d.value.capitalize()) for d in dimensions)


def _key_cells(keys: Keys) -> tuple[Cell, ...]:
    return tuple(keys.values())


def _unpriced_note(calls: int) -> str:
    if not calls:
        return ""
    return f"{calls} calls have no known price and are not in the cost."


def _written(cell: Cell, unit: Unit) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if unit == "usd" and 0 < cell < _SMALLEST_SHOWN_USD:
        return f"<${_SMALLEST_SHOWN_USD}"
    formats = {"count": "{:,}", "usd": "${:,.4f}", "seconds": "{:.2f} s", "share": "{:.1%}"}
    return formats.get(unit, "{:.1f}").format(cell)
