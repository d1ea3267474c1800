"""The ``manus`` command as a program sees it: exit codes, documents, and what stands on stderr."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from core.plan import Plan
from core.result import RunReport
from gateway.cli.doctor import Finding
from gateway.cli.listing import ListedRun
from gateway.cli.providers import Deployments
from tests.conftest import PrefectServer
from tests.fakes import diamond
from tests.flows.conftest import Stage
from tests.flows.test_planning import code, plan


class Command:
    """Runs ``manus`` in a process of its own while the fake model answers from this one."""

    def __init__(self, stage: Stage, server: PrefectServer) -> None:
        self.stage = stage
        self._environment = {**os.environ, "PREFECT_API_URL": server.address.api_url}

    async def __call__(self, *arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from gateway.cli.main import main; main()", *arguments),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    def plan_file(self, work: Plan) -> str:
        path = self.stage.home.parent / "plan.json"
        path.write_text(work.model_dump_json(), encoding="utf-8")
        return str(path)


@pytest.fixture
def manus(stage: Stage, prefect_server: PrefectServer) -> Command:
    return Command(stage, prefect_server)


async def test_a_failed_run_exits_with_1_says_why_and_how_to_go_on(manus: Command) -> None:
    bad = manus.plan_file(plan(code("a", "raise ValueError('no luck')"), code("b")))
    exit_code, out, err = await manus("run", bad)
    assert exit_code == 1
    assert "1 failed, 1 completed" in out
    assert "no luck" in out
    (directory,) = (manus.stage.home / "runs").iterdir()
    lines = err.splitlines()
    assert lines[0] == f"run {directory.name}"
    assert lines[-1] == f"manus resume {directory.name}"


async def test_a_completed_run_exits_with_0_and_its_documents_have_the_schema(
    manus: Command,
) -> None:
    exit_code, out, _ = await manus("run", manus.plan_file(plan(code("a"))), "--json")
    assert exit_code == 0
    report = RunReport.model_validate_json(out)
    assert report.status == "completed"
    exit_code, out, _ = await manus("runs", "--json")
    (listed,) = [ListedRun.model_validate(r) for r in json.loads(out)["runs"]]
    assert (listed.run_key, listed.status) == (report.run_key, "completed")
    exit_code, out, _ = await manus("usage", "--json")
    calls: list[dict[str, Any]] = json.loads(out)["calls"]
    assert [c["tool_name"] for c in calls] == ["python_execute"]
    exit_code, out, _ = await manus("resume", report.run_key[:8], "--json")
    assert exit_code == 0
    assert RunReport.model_validate_json(out).steps[0].reused


async def test_over_budget_exits_with_4(manus: Command) -> None:
    manus.stage.model.script = diamond.script
    exit_code, _, err = await manus("run", "A diamond of 3 steps", "--max-tokens", "10", "--json")
    assert exit_code == 4, err
    assert "max_tokens = 10" in err


async def test_a_plan_can_be_drafted_read_and_run(manus: Command) -> None:
    manus.stage.model.script = diamond.script
    path = manus.stage.home.parent / "drafted.yaml"
    exit_code, _, err = await manus("plan", "A diamond of 3 steps", "-o", str(path))
    assert exit_code == 0, err
    drafted = Plan.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert [s.id for s in drafted.steps] == ["s000", "s001", "s002"]
    exit_code, out, err = await manus("run", str(path), "--json")
    assert exit_code == 0, err
    assert RunReport.model_validate_json(out).counts


async def test_doctor_tells_what_is_there(manus: Command) -> None:
    exit_code, out, _ = await manus("doctor", "--json")
    assert exit_code == 0
    found = {f.subject: f for f in map(Finding.model_validate, json.loads(out)["findings"])}
    assert found["route default"].detail.startswith("openai:")
    assert found["sandbox"].state == "ok"


def test_help_loads_neither_prefect_nor_any_sdk() -> None:
    probe = (
        "import sys; from typer.testing import CliRunner; from gateway.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'prefect', 'openai', 'anthropic', 'duckdb', 'pandas', 'pydantic'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_providers_are_listed_asked_and_accounted_for(manus: Command) -> None:
    exit_code, out, _ = await manus("providers", "test", "openai", "--json")
    assert exit_code == 0
    assert json.loads(out)["deployment"].startswith("openai:")
    exit_code, out, _ = await manus("providers", "--json")
    found = Deployments.model_validate_json(out)
    assert next(p.name for p in found.providers if p.key_present) == "openai"
    (deployment,) = [d for d in found.deployments if d.deployment.startswith("openai:")]
    assert deployment.breaker == "closed"
    assert deployment.error_rate == 0.0
    assert "openai" in found.spent_today_usd
    exit_code, _, err = await manus("providers", "test", "nobody")
    assert exit_code == 2
    assert "no route has a provider 'nobody'" in err
