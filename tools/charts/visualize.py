"""Charts from prepared tables, or from a specification of the caller's."""

from __future__ import annotations

from typing import ClassVar, Literal

from core.base import JsonObject
from core.errors import InvalidArgumentsError
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.charts import drawing
from tools.charts.ask_model import temporal_fields
from tools.charts.drawing import Chart, Outcome, Style
from tools.charts.insight_pass import annotated
from tools.charts.items import read_items, table_path, targets
from tools.charts.model import ChartDesign, ChartItem, InsightItem, Language, OutputType
from tools.charts.report import report
from tools.charts.spec_check import check_spec, has_data

ToolType = Literal["visualization", "insight"]


class DataVisualization(BaseTool):
    name = "data_visualization"
    description = (
        "Draws charts and saves them under visualization/. Give either json_path, the file that "
        "visualization_preparation wrote, or spec, a Vega-Lite v6 specification with inline data "
        "or with the data of data_file (CSV or JSON of the workspace). Each table's chart gets a "
        "page of computed insights beside it. tool_type 'insight' writes chosen insights into "
        "charts made before. A chart of the same title is replaced."
    )
    parameters = object_schema(
        json_path={"type": "string"},
        spec={"type": "object"},
        data_file={"type": "string"},
        title={"type": "string", "maxLength": 300, "description": "With spec: names the files."},
        output_type={"enum": ["png", "html"], "default": "png"},
        tool_type={"enum": ["visualization", "insight"], "default": "visualization"},
        language={"enum": ["en", "zh"], "default": "en"},
    )
    annotations = ToolAnnotations(idempotent=True)
    verbatim: ClassVar[frozenset[str]] = frozenset({"spec"})
    on_unknown = "rerun"

    async def execute(
        self,
        json_path: str | None = None,
        tool_type: ToolType = "visualization",
        output_type: OutputType = "png",
        language: Language = "en",
        **direct: object,
    ) -> ToolResult:
        if (json_path is None) == ("spec" not in direct):
            raise InvalidArgumentsError("give either 'json_path' or 'spec'")
        style = Style(output_type, language)
        if json_path is None:
            outcomes = await drawing.draw_charts(self, [self._given(direct)], style)
        elif tool_type == "visualization":
            items = read_items(self.context.directory, json_path, ChartItem)
            outcomes = await self._chosen(items, style)
        else:
            wanted = read_items(self.context.directory, json_path, InsightItem)
            outcomes = await annotated(self, wanted, style)
        return report(self.context.directory, outcomes, style, keep=tool_type == "visualization")

    def _given(self, direct: dict[str, object]) -> Chart:
        spec: JsonObject = direct["spec"]  # pyright: ignore[reportAssignmentType]
        check_spec(spec)
        title = str(direct.get("title") or _title(spec))
        path = None
        if "data_file" in direct:
            path = table_path(self.context.directory, str(direct["data_file"]))
        elif not has_data(spec):
            raise InvalidArgumentsError(
                "'spec' has no inline data; put them in, or give 'data_file'"
            )
        reduction: JsonObject = {"kind": "rows", "temporal": temporal_fields(spec)}
        design = ChartDesign(spec=spec, reduction=reduction, by="caller")
        return Chart(title, path, targets([title])[0], design)

    async def _chosen(self, items: list[ChartItem], style: Style) -> list[Outcome]:
        names = targets([item.chart_title for item in items])
        paths = [table_path(self.context.directory, item.csv_file_path) for item in items]
        titles = [item.chart_title for item in items]
        return await drawing.draw_tables(self, list(zip(titles, paths, names, strict=True)), style)


def _title(spec: JsonObject) -> str:
    match spec.get("title"):
        case str(text):
            return text
        case {"text": str(text)}:
            return text
        case _:
            return "chart"
