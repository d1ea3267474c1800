"""What the model is told of the charts, and the pages of insights beside them."""

from __future__ import annotations

from typing import Any

from core.base import JsonObject
from core.message import ImagePart
from tools import step_files
from tools.base import ToolResult
from tools.charts.drawing import Chart, Outcome, Style
from tools.charts.insight_pass import RECORD_SUFFIX
from tools.charts.model import ChartRecord, Drawn
from tools.charts.wording import document, sentence
from tools.workspace import StepDirectory

_FONTLESS = (
    "no font here has Chinese, Japanese or Korean signs: the PNG shows boxes in their place "
    "(Debian: apt-get install fonts-noto-cjk); an HTML chart uses its reader's fonts"
)


def report(
    directory: StepDirectory, outcomes: list[Outcome], style: Style, *, keep: bool
) -> ToolResult:
    """One result for all; with ``keep`` the insights are written beside their charts."""
    failed = [outcome for outcome in outcomes if outcome.error]
    drawn = [outcome for outcome in outcomes if not outcome.error]
    described = [_described(directory, outcome, style, keep) for outcome in drawn]
    lines = [_told(outcome, one) for outcome, one in zip(drawn, described, strict=True)]
    lines += [f"{outcome.title}: not drawn: {outcome.error}" for outcome in failed]
    error = f"{len(failed)} of {len(outcomes)} charts failed" if failed else None
    return ToolResult(
        output="\n".join(lines),
        data={"charts": described},
        error=error,
        images=tuple(image for outcome in drawn for image in _image(outcome)),
    )


def _described(directory: StepDirectory, outcome: Outcome, style: Style, keep: bool) -> JsonObject:
    chart, drawn = outcome.chart, outcome.drawn
    assert chart
    assert drawn
    notes = [note for note in (chart.remark, drawn.note) if note]
    if drawn.fontless:
        notes.append(_FONTLESS)
    described: dict[str, Any] = {
        "chartTitle": chart.title,
        "chartPath": f"{chart.target}.{style.output_type}",
        "specPath": f"{chart.target}.vl.json",
        "by": chart.design.by,
        "notes": notes,
    }
    return described | (_kept(directory, chart, drawn, style) if keep else {})


def _kept(directory: StepDirectory, chart: Chart, drawn: Drawn, style: Style) -> JsonObject:
    """Writes the insights beside their chart."""
    found = drawn.insights
    record = ChartRecord(title=chart.title, output_type=style.output_type, insights=found)
    content = record.model_dump_json(indent=2).encode()
    step_files.write_bytes(directory, chart.target + RECORD_SUFFIX, content)
    page = document(chart.title, found, style.language).encode()
    step_files.write_bytes(directory, f"{chart.target}.md", page)
    told = [{"id": i.id, "type": i.type, "text": sentence(i, style.language)} for i in found]
    return {"insightsPath": f"{chart.target}.md", "insights": told}


def _told(outcome: Outcome, described: JsonObject) -> str:
    by = {"rules": "chosen by rule", "model": "designed by the model"}.get(described["by"], "")
    lines = [f"{described['chartPath']}: {outcome.title}" + (f" ({by})" if by else "")]
    lines += [f"  note: {note}" for note in described["notes"]]
    lines += [f"  insight {one['id']}: {one['text']}" for one in described.get("insights", ())]
    return "\n".join(lines)


def _image(outcome: Outcome) -> list[ImagePart]:
    """The preview, which only the first few charts of a call have."""
    preview = outcome.drawn.preview if outcome.drawn else {}
    if not preview:
        return []
    return [ImagePart(media_type=preview["media_type"], data=preview["data"])]
