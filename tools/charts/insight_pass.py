"""Writing chosen insights into charts that were made before."""

from __future__ import annotations

import json
import textwrap

from pydantic import ValidationError

from core.base import JsonObject, is_object
from core.errors import AnswerToModelError, ToolFailedError
from tools import step_files
from tools.base import BaseTool
from tools.charts.drawing import Chart, Outcome, Style, draw_charts
from tools.charts.items import stem_of
from tools.charts.model import ChartDesign, ChartRecord, InsightItem
from tools.charts.spec_check import check_spec
from tools.charts.wording import sentence
from tools.workspace import StepDirectory

_LINE_CHARACTERS = {"en": 100, "zh": 50}
RECORD_SUFFIX = ".insights.json"


async def annotated(tool: BaseTool, items: list[InsightItem], style: Style) -> list[Outcome]:
    """The charts drawn anew with the insights below their titles.

    The specification beside a chart stays without them, so another choice replaces this one.
    """
    prepared: list[Chart | Outcome] = []
    for item in items:
        try:
            prepared.append(_chart(tool.context.directory, item, style))
        except AnswerToModelError as error:
            prepared.append(Outcome(item.chart_path, error=str(error)))
    drawn = iter(await draw_charts(tool, [c for c in prepared if isinstance(c, Chart)], style))
    return [next(drawn) if isinstance(chart, Chart) else chart for chart in prepared]


def _chart(directory: StepDirectory, item: InsightItem, style: Style) -> Chart:
    stem = stem_of(directory, item.chart_path)
    record = _record(directory, stem)
    known = {insight.id: insight for insight in record.insights}
    unknown = [number for number in item.insights_id if number not in known]
    if unknown:
        numbers = ", ".join(map(str, known)) or "none"
        raise ToolFailedError(f"{item.chart_path}: no insight {unknown[0]}; there are: {numbers}")
    texts = [sentence(known[number], style.language) for number in item.insights_id]
    width = _LINE_CHARACTERS[style.language]
    lines = [line for text in texts for line in textwrap.wrap(text, width)]
    spec = _with_subtitle(_spec(directory, stem), record.title, lines)
    return Chart(record.title, None, stem, ChartDesign(spec=spec, by="insights"))


def _record(directory: StepDirectory, stem: str) -> ChartRecord:
    content = step_files.read_bytes(directory, stem + RECORD_SUFFIX)
    try:
        return ChartRecord.model_validate_json(content)
    except ValidationError as error:
        raise ToolFailedError(f"{stem}{RECORD_SUFFIX}: damaged; draw the chart again") from error


def _spec(directory: StepDirectory, stem: str) -> JsonObject:
    """Checked again: code in the sandbox could have changed it."""
    try:
        spec = json.loads(step_files.read_bytes(directory, f"{stem}.vl.json"))
    except (ValueError, RecursionError) as error:
        raise ToolFailedError(f"{stem}.vl.json: damaged; draw the chart again") from error
    if not is_object(spec):
        raise ToolFailedError(f"{stem}.vl.json: damaged; draw the chart again")
    check_spec(spec)
    return spec


def _with_subtitle(spec: JsonObject, title: str, lines: list[str]) -> JsonObject:
    before = spec.get("title")
    described: JsonObject = before if is_object(before) else {"text": before or title}
    match described.get("subtitle"):
        case str(text):
            lines = [text, *lines]
        case [*kept]:
            lines = [*map(str, kept), *lines]
        case _:
            pass
    return {**spec, "title": {**described, "subtitle": lines}}
