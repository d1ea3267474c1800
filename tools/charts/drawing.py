"""From tables to drawn charts: read them, design, draw, and fall back where a design fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from core.base import JsonObject
from core.errors import AnswerToModelError, ToolFailedError
from tools.base import BaseTool
from tools.charts.ask_model import design_by_model
from tools.charts.choose import AVERAGED, choose
from tools.charts.in_sandbox.reduce import MAX_DRAWN_ROWS
from tools.charts.model import ChartDesign, Drawn, Language, OutputType, TableProfile
from tools.charts.spec_check import SCHEMA_URL
from tools.sandboxed_call import SandboxedFunction, call_in_sandbox

_MODULES = tuple(
    f"tools.charts.in_sandbox.{name}"
    for name in ("times", "table", "reduce", "insights", "image", "draw")
)
ANALYSE = SandboxedFunction(_MODULES, "analyse")
DRAW = SandboxedFunction(_MODULES, "draw")
MAX_PREVIEWS = 4
_CONFIG: JsonObject = {
    "background": "white",
    "font": "sans-serif",
    "title": {"anchor": "start", "fontSize": 16, "subtitleColor": "#555"},
    "axis": {"grid": True, "gridOpacity": 0.4},
    "view": {"stroke": None},
}


@dataclass(frozen=True, slots=True)
class Style:
    output_type: OutputType
    language: Language


@dataclass(frozen=True, slots=True)
class Chart:
    """``path`` is the table's, None where the specification holds its data.

    ``target`` is the chart's file without its ending. ``remark`` says how the design came about
    where that was not as wished.
    """

    title: str
    path: str | None
    target: str
    design: ChartDesign
    profile: TableProfile | None = None
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One chart, or in ``error`` why there is none."""

    title: str
    chart: Chart | None = None
    drawn: Drawn | None = None
    error: str | None = None


async def draw_tables(
    tool: BaseTool, tables: list[tuple[str, str, str]], style: Style
) -> list[Outcome]:
    """A chart for each title, table and target; one that fails does not stop the others."""
    answer = await call_in_sandbox(tool, ANALYSE, {"paths": [path for _, path, _ in tables]})
    designed: list[Chart | Outcome] = []
    for (title, path, target), found in zip(tables, answer, strict=True):
        try:
            designed.append(await _designed(tool, title, path, target, found, style))
        except AnswerToModelError as error:
            designed.append(Outcome(title, error=str(error)))
    drawn = iter(await draw_charts(tool, [c for c in designed if isinstance(c, Chart)], style))
    return [next(drawn) if isinstance(chart, Chart) else chart for chart in designed]


async def draw_charts(tool: BaseTool, charts: list[Chart], style: Style) -> list[Outcome]:
    """Draws all in one run of the sandbox; a model's design that fails is replaced by a rule's."""
    outcomes = await _draw(tool, charts, style)
    again = [c for o in outcomes if (c := _by_rules_instead(o)) is not None]
    if again:
        replaced = iter(await _draw(tool, again, style))
        outcomes = [next(replaced) if _by_rules_instead(o) else o for o in outcomes]
    return outcomes


def _by_rules_instead(outcome: Outcome) -> Chart | None:
    chart = outcome.chart
    if outcome.error is None or chart is None or chart.design.by != "model" or not chart.profile:
        return None
    remark = f"chosen by rule: the model's chart could not be drawn ({outcome.error})"
    return replace(chart, design=choose(chart.profile, chart.title), remark=remark)


async def _designed(
    tool: BaseTool, title: str, path: str, target: str, found: JsonObject, style: Style
) -> Chart:
    if "error" in found:
        raise ToolFailedError(f"{path}: {found['error']}")
    profile = TableProfile.model_validate(found["profile"])
    model, remark = tool.context.model, None
    if model and profile.rows > MAX_DRAWN_ROWS:
        remark = f"chosen by rule: {profile.rows} rows are drawn aggregated"
    elif model:
        try:
            design = await design_by_model(model, profile, title, style.language)
            return Chart(title, path, target, design, profile)
        except AnswerToModelError as error:
            remark = f"chosen by rule: the model gave no chart ({error})"
    return Chart(title, path, target, choose(profile, title), profile, remark)


async def _draw(tool: BaseTool, charts: list[Chart], style: Style) -> list[Outcome]:
    if not charts:
        return []
    orders = [_order(chart, index, style) for index, chart in enumerate(charts)]
    answer: Any = await call_in_sandbox(tool, DRAW, {"charts": orders})
    outcomes: list[Outcome] = []
    for chart, one in zip(charts, answer, strict=True):
        drawn = Drawn.model_validate(one)
        outcomes.append(Outcome(chart.title, chart, drawn, drawn.error))
    return outcomes


def _order(chart: Chart, index: int, style: Style) -> JsonObject:
    own: JsonObject = chart.design.spec.get("config", {})
    spec = {"$schema": SCHEMA_URL, **chart.design.spec, "config": {**_CONFIG, **own}}
    return {
        "spec": spec,
        "title": chart.title,
        "path": chart.path,
        "target": chart.target,
        "reduction": chart.design.reduction,
        "design": {"measure": chart.design.measure, "averaged": AVERAGED.pattern},
        "output_type": style.output_type,
        "language": style.language,
        "keep_spec": chart.design.by != "insights",
        "preview": index < MAX_PREVIEWS,
    }
