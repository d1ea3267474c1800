"""What the documentation says on flows and tools of one's own holds on a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any

import pytest
import yaml
from prefect.flows import Flow

from core.errors import RunFailedError
from core.plan import Plan, PlanStep
from core.result import RunReport
from core.settings import PROJECT_ROOT
from flows.planning import plan_and_run
from gateway.worker import WORK_POOL
from tasks.services import open_services, using
from tests.conftest import PrefectServer
from tests.flows.conftest import Stage
from tests.flows.prefect_api import eventually

PAGE = PROJECT_ROOT / "docs" / "extending.md"

COUNT = """\
title: Count
summarize: false
steps:
  - id: count
    title: Count the lines
    kind: tool
    tool: bash
    args: {command: "cat ../data/* | wc -l && grep -q a ../data/*"}
"""


def block(heading: str, language: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index(f"## {heading}\n") :]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def of_the_page(heading: str) -> ModuleType:
    module = ModuleType("of_the_page")
    exec(compile(block(heading, "python"), str(PAGE), "exec"), module.__dict__)
    return module


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    for name, text in (("one.csv", "a\n"), ("two.csv", "a\nb\n"), ("none.csv", "c\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "plan.yaml").write_text(COUNT, encoding="utf-8")
    return [str(tmp_path / name) for name in ("one.csv", "two.csv", "none.csv")]


async def test_the_flow_of_the_page_runs_a_plan_for_each_table(
    stage: Stage, tables: list[str], tmp_path: Path
) -> None:
    each_table: Any = of_the_page("A flow").each_table
    said = await each_table(plan=tmp_path / "plan.yaml", tables=tables[:2])
    assert said == {tables[0]: "1", tables[1]: "2"}
    assert len(list((stage.home / "runs").iterdir())) == 2


async def test_a_run_that_fails_in_it_is_raised_with_its_report(
    stage: Stage, tables: list[str], tmp_path: Path
) -> None:
    each_table: Any = of_the_page("A flow").each_table
    with pytest.raises(RunFailedError, match="count: exit code 1"):
        await each_table(plan=tmp_path / "plan.yaml", tables=tables[2:])


@pytest.mark.usefixtures("stage")
async def test_the_tool_of_the_page_is_handed_over_as_it_shows_and_runs_as_a_step() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = re.search(r"^```python\n(async with .*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert shown
    source = f"async def handed_over(plan):\n{indent(shown[1], '    ')}    return report\n"
    module = of_the_page("A tool")
    module.__dict__.update(open_services=open_services, using=using, plan_and_run=plan_and_run)
    exec(compile(source, str(PAGE), "exec"), module.__dict__)
    step = PlanStep(
        id="count", title="Count", kind="tool", tool="my_custom_tool", args={"param1": "a b"}
    )
    report = await module.handed_over(Plan(title="Words", summarize=False, steps=(step,)))
    assert isinstance(report, RunReport)
    assert report.steps[0].result
    assert report.steps[0].result.output == {"words": 2}


async def test_a_flow_of_ones_own_ends_as_its_run_does(stage: Stage, tables: list[str]) -> None:
    from examples.custom_flow import region_digest

    flow: Any = region_digest
    state = await flow(table=tables[0], return_state=True)
    assert state.is_failed()
    assert "1 failed, 0 completed; totals: exit code 1" in str(state.message)


def test_the_deployment_of_the_page_can_be_registered(
    flow_home: Path, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    (entry,) = yaml.safe_load(block("A flow", "yaml"))
    assert entry["work_pool"]["name"] == WORK_POOL
    module, _, name = entry["entrypoint"].rpartition(".")
    found: Flow[Any, Any] = getattr(import_module(module), name)
    assert found.validate_parameters(entry["parameters"]) == entry["parameters"]
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"name": "x", "deployments": [entry]}), encoding="utf-8")
    api = prefect_server.address.api_url
    for arguments in (
        ("work-pool", "create", WORK_POOL, "--type", "process", "--overwrite"),
        ("deploy", "--all", "--prefect-file", str(file)),
    ):
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
    registered = eventually(api, "deployments/name/region-digest/region-digest")
    assert registered["entrypoint"] == entry["entrypoint"]
    assert [s["active"] for s in registered["schedules"]] == [True]
