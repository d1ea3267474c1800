"""What the parts of a chart's making hand to each other."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from core.base import JsonObject, Value

Kind = Literal["quantitative", "temporal", "year", "nominal", "identifier"]
TimeUnit = Literal["year", "quarter", "month", "day", "hour", "second"]
Language = Literal["en", "zh"]
OutputType = Literal["png", "html"]


class ColumnProfile(Value):
    """One column as read in the sandbox. ``field`` is its name in a specification.

    ``labels`` are a nominal column's first 60 distinct values in order. ``span_days`` is set for
    temporal columns, and ``time_unit`` is the coarsest that loses nothing.
    """

    field: str
    title: str
    kind: Kind
    distinct: int
    missing: int
    samples: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    time_unit: TimeUnit | None = None
    longest_label: int = 0
    lowest: float | str | None = None
    highest: float | str | None = None
    span_days: float | None = None


class TableProfile(Value):
    rows: int
    columns: tuple[ColumnProfile, ...]

    def of_kind(self, *kinds: Kind) -> list[ColumnProfile]:
        return [column for column in self.columns if column.kind in kinds]


class ChartDesign(Value):
    """A Vega-Lite specification without its data, and how the table becomes those data.

    ``reduction`` is what ``in_sandbox.reduce`` takes. ``measure`` is what insights begin with.
    """

    spec: JsonObject
    reduction: JsonObject = Field(default_factory=lambda: {"kind": "rows"})
    measure: str | None = None
    by: Literal["rules", "model", "caller", "insights"] = "rules"


class _FromFile(Value):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class ChartItem(_FromFile):
    """An entry of the JSON that a preparation for charts writes."""

    csv_file_path: str = Field(alias="csvFilePath", min_length=1)
    chart_title: str = Field(alias="chartTitle", min_length=1, max_length=300)


class InsightItem(_FromFile):
    """An entry of the JSON that a preparation for insights writes."""

    chart_path: str = Field(alias="chartPath", min_length=1)
    insights_id: tuple[int, ...] = Field(min_length=1)


class Insight(Value):
    """A computed statement. ``figures`` are the numbers it is made of."""

    id: int
    type: Literal[
        "trend", "extremes", "share", "distribution", "outliers", "correlation", "missing"
    ]
    measure: str
    by: str | None
    aggregate: Literal["sum", "mean"]
    figures: JsonObject


class Drawn(Value):
    """What the sandbox says of one chart."""

    error: str | None = None
    preview: JsonObject = Field(default_factory=dict)
    note: str | None = None
    insights: tuple[Insight, ...] = ()
    fontless: bool = False


class ChartRecord(Value):
    """What lies beside a chart as ``.insights.json``, for the call that writes insights into it."""

    title: str
    output_type: OutputType
    insights: tuple[Insight, ...] = ()
