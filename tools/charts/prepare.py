"""The first half of a visualization: code that cleans data and says what is to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from core.errors import AnswerToModelError, ToolFailedError
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.charts.items import read_items
from tools.charts.model import ChartItem, InsightItem
from tools.python_execute import PythonExecute
from tools.sandboxed import TIMEOUT_SCHEMA, annotations_for

CodeType = Literal["visualization", "insight"]


class VisualizationPreparation(BaseTool):
    name = "visualization_preparation"
    description = (
        "Runs Python code, as python_execute does, that prepares what data_visualization draws. "
        "code_type 'visualization': the code cleans the data, writes one tidy CSV (UTF-8, with a "
        "header) per chart, writes a JSON file "
        '[{"csvFilePath": "sales.csv", "chartTitle": "Sales by month"}, ...] '
        "and prints that file's path as its last line. code_type 'insight': it writes "
        '[{"chartPath": "visualization/Sales_by_month.png", "insights_id": [1, 2]}, ...] with the '
        "insights to put into charts made before, and prints the path. Paths are relative to the "
        "working directory."
    )
    parameters = object_schema(
        ("code",),
        code={"type": "string", "minLength": 1},
        code_type={"enum": ["visualization", "insight"], "default": "visualization"},
        timeout_seconds=TIMEOUT_SCHEMA,
    )
    verbatim: ClassVar[frozenset[str]] = frozenset({"code"})
    on_unknown = "rerun"

    def __init__(self, network: bool = False) -> None:
        self.annotations: ToolAnnotations = annotations_for(network)

    async def execute(
        self,
        code: str,
        code_type: CodeType = "visualization",
        timeout_seconds: float | None = None,
    ) -> ToolResult:
        ran = await PythonExecute().bind(self.context).execute(code, timeout_seconds)
        if ran.error:
            return ran
        try:
            path = _printed_path(ran)
            items = self._items(path, code_type)
        except AnswerToModelError as error:
            return ran.model_copy(update={"error": f"the code ran, but {error}"})
        listed = [item.model_dump(mode="json", by_alias=True) for item in items]
        return ran.model_copy(update={"data": {"json_path": path, "items": listed}})

    def _items(self, path: str, code_type: CodeType) -> Sequence[ChartItem | InsightItem]:
        if code_type == "visualization":
            return read_items(self.context.directory, path, ChartItem)
        return read_items(self.context.directory, path, InsightItem)


def _printed_path(ran: ToolResult) -> str:
    """The path in the variable ``output``, or the last line of stdout that is one."""
    if isinstance(ran.data, str):
        return ran.data
    printed = ran.output.split("[stderr]\n")[0].splitlines()
    found = [line.strip() for line in printed if line.strip().endswith(".json")]
    if not found:
        raise ToolFailedError("it printed no path of a JSON file as its last line")
    return found[-1]
