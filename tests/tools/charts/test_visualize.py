"""The two tools in a real sandbox, from code to picture."""

import base64
import io
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.completion import Completion, CompletionRequest
from providers.base import BaseProvider
from tests.fakes.kinds import MODELS, provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, ScriptedCall
from tests.fakes.scripts import in_turn
from tests.tools.conftest import BACKENDS
from tools.base import BaseTool, ToolContext, ToolResult
from tools.charts.ask_model import DRAW_CHART
from tools.charts.prepare import VisualizationPreparation
from tools.charts.visualize import DataVisualization
from tools.invoke import invoke
from tools.workspace import StepDirectory

PREPARE = """
import json
open("sales.csv", "w").write("region,amount\\nNorth,30\\nSouth,10\\n")
charts = [{"csvFilePath": "sales.csv", "chartTitle": "Amount by region"}]
json.dump(charts, open("charts.json", "w"))
print("charts.json")
"""
SPEC = {
    "mark": "bar",
    "encoding": {
        "x": {"field": "region", "type": "nominal"},
        "y": {"field": "amount", "type": "quantitative"},
    },
}


async def run(tool: BaseTool, context: ToolContext, **arguments: Any) -> ToolResult:
    return await invoke(tool.bind(context), arguments)


async def draw(context: ToolContext, **arguments: Any) -> ToolResult:
    return await run(DataVisualization(), context, **arguments)


def put(context: ToolContext, name: str, text: str) -> Path:
    path = context.directory.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def prepared(context: ToolContext, *charts: tuple[str, str]) -> str:
    items = [{"csvFilePath": csv, "chartTitle": title} for csv, title in charts]
    put(context, "charts.json", json.dumps(items))
    return "charts.json"


def colours(picture: bytes) -> int:
    with Image.open(io.BytesIO(picture)) as image:
        return len(set(image.convert("RGB").resize((200, 120)).tobytes()))


async def test_prepared_data_become_a_chart_with_insights_that_can_be_written_into_it(
    context: ToolContext,
) -> None:
    ready = await run(VisualizationPreparation(), context, code=PREPARE)
    assert ready.data["json_path"] == "charts.json"
    result = await draw(context, json_path="charts.json")
    assert not result.is_error, result.text
    assert "South" in result.text
    assert "North makes 75.0% of all amount (40)" in result.text
    folder = context.directory.path / "visualization"
    assert {path.name for path in folder.iterdir()} == {
        f"Amount_by_region.{end}" for end in ("png", "md", "vl.json", "insights.json")
    }
    picture = (folder / "Amount_by_region.png").read_bytes()
    assert colours(picture) > 5
    assert colours(base64.b64decode(result.images[0].data)) > 5
    share = next(i for i in result.data["charts"][0]["insights"] if i["type"] == "share")
    chosen = [{"chartPath": "visualization/Amount_by_region.png", "insights_id": [share["id"]]}]
    code = f"import json\njson.dump({chosen!r}, open('i.json', 'w'))\nprint('i.json')"
    ready = await run(VisualizationPreparation(), context, code=code, code_type="insight")
    again = await draw(context, json_path=ready.data["json_path"], tool_type="insight")
    assert not again.is_error, again.text
    assert (folder / "Amount_by_region.png").read_bytes() != picture
    assert "75.0%" not in (folder / "Amount_by_region.vl.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("sandbox", list(BACKENDS), indirect=True)
async def test_a_page_is_self_contained_and_data_cannot_end_its_script(
    context: ToolContext,
) -> None:
    put(context, "t.csv", "name,n\n</script><script>alert(1)</script>,1\n苹果,2\n")
    path = prepared(context, ("t.csv", "水果 <b>"))
    result = await draw(context, json_path=path, output_type="html", language="zh")
    assert not result.is_error, result.text
    page = context.directory.path / result.data["charts"][0]["chartPath"]
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert "alert(1)" in text
    assert "default-src 'none'" in text
    without_scripts = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert re.search(r"(src|href)=", without_scripts) is None
    assert "洞察" in page.with_suffix(".md").read_text(encoding="utf-8")


async def test_a_specification_is_drawn_with_data_of_a_file(context: ToolContext) -> None:
    put(context, "t.csv", "region,amount\nNorth,3\nSouth,1\n")
    result = await draw(context, spec=SPEC, data_file="t.csv", title="Mine")
    assert result.data["charts"][0]["chartPath"] == "visualization/Mine.png"
    spec = json.loads((context.directory.path / "visualization/Mine.vl.json").read_bytes())
    assert spec["data"]["values"] == [
        {"region": "North", "amount": 3},
        {"region": "South", "amount": 1},
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "either 'json_path' or 'spec'"),
        ({"spec": SPEC}, "no inline data"),
        ({"spec": {**SPEC, "mark": "barz"}, "data_file": "t.csv"}, "'mark'"),
        ({"spec": {**SPEC, "data": {"url": "http://127.0.0.1/"}}}, "'data.url'"),
        ({"spec": SPEC, "data_file": "absent.csv"}, "no such file"),
        ({"spec": SPEC, "data_file": "t.exe"}, "not one of .csv"),
        ({"json_path": "broken.json"}, "csvFilePath"),
        ({"json_path": "missing.json"}, "absent.csv: no such file"),
        ({"json_path": "broken.json", "tool_type": "insight"}, "chartPath"),
    ],
)
async def test_a_wrong_call_is_told_before_anything_is_drawn(
    directory: StepDirectory, arguments: dict[str, Any], told: str
) -> None:
    without_sandbox = ToolContext(directory)
    put(without_sandbox, "t.csv", "region,amount\nNorth,3\n")
    put(without_sandbox, "t.exe", "x")
    put(without_sandbox, "broken.json", '[{"csv": 1}]')
    put(without_sandbox, "missing.json", '[{"csvFilePath": "absent.csv", "chartTitle": "x"}]')
    assert told in (await draw(without_sandbox, **arguments)).text


async def test_one_bad_table_does_not_spoil_the_others(context: ToolContext) -> None:
    put(context, "good.csv", "a,b\nx,1\ny,2\n")
    put(context, "empty.csv", "a,b\n")
    path = prepared(context, ("good.csv", "Good"), ("empty.csv", "Empty"))
    result = await draw(context, json_path=path)
    assert result.error == "1 of 2 charts failed"
    assert "Empty: not drawn: empty.csv: the table has no rows" in result.output
    assert [chart["chartTitle"] for chart in result.data["charts"]] == ["Good"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print('done')", "printed no path"),
        ("print('absent.json')", "absent.json"),
        ("open('c.json', 'w').write('{}'); print('c.json')", "c.json"),
        ("1 / 0", "exit code 1"),
    ],
)
async def test_a_preparation_that_prepared_nothing_is_told(
    context: ToolContext, code: str, told: str
) -> None:
    result = await run(VisualizationPreparation(), context, code=code)
    assert result.is_error
    assert told in result.text


@dataclass
class WireModel:
    """A tool's model, asked over the wire."""

    provider: BaseProvider

    async def ask(self, request: CompletionRequest) -> Completion:
        return await self.provider.generate_completion(request, model=MODELS["openai"])


def drawn(spec: dict[str, Any]) -> Answer:
    return Answer(tool_calls=(ScriptedCall(DRAW_CHART, {"spec": spec}),))


@asynccontextmanager
async def asking(*answers: Answer) -> AsyncGenerator[tuple[FakeModelServer, WireModel]]:
    async with FakeModelServer(in_turn(answers)) as server:
        provider = provider_of("openai", server)
        try:
            yield server, WireModel(provider)
        finally:
            await provider.close()


async def test_a_model_designs_the_chart_and_mends_what_is_wrong(context: ToolContext) -> None:
    put(context, "t.csv", "region,amount\nNorth,3\nSouth,1\n")
    path = prepared(context, ("t.csv", "Mine"))
    wrong = {**SPEC, "encoding": {"x": {"field": "regoin", "type": "nominal"}}}
    async with asking(drawn(wrong), drawn({**SPEC, "mark": "barz"}), drawn(SPEC)) as (
        server,
        model,
    ):
        result = await draw(replace(context, model=model), json_path=path)
        assert "no field 'regoin'" in server.requests[1].text
        assert "is none of" in server.requests[2].text
    assert not result.is_error, result.text
    assert result.data["charts"][0]["by"] == "model"


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([drawn({**SPEC, "mark": "barz"})], "the model gave no chart"),
        ([Answer(text="no")], "you must call draw_chart"),
        (
            [drawn({**SPEC, "transform": [{"calculate": "nonsense(", "as": "n"}]})],
            "the model's chart could not be drawn",
        ),
    ],
)
async def test_without_a_chart_of_the_model_rules_choose_and_say_so(
    context: ToolContext, answers: list[Answer], told: str
) -> None:
    put(context, "t.csv", "region,amount\nNorth,3\nSouth,1\n")
    path = prepared(context, ("t.csv", "Mine"))
    async with asking(*answers) as (server, model):
        result = await draw(replace(context, model=model), json_path=path)
        assert len(server.requests) <= 3
    assert not result.is_error, result.text
    assert result.data["charts"][0]["by"] == "rules"
    assert told in result.text
