"""The examples run as they are shipped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from core.errors import RunFailedError
from core.result import RunReport, StepStatus
from core.run import RunOptions
from core.settings import PROJECT_ROOT
from flows.planning import plan_and_run
from gateway.questions import answer
from tests.conftest import PrefectServer
from tests.flows.prefect_api import eventually, finished, post
from tests.flows.test_human import waiting

CHART_PLAN = PROJECT_ROOT / "examples/plans/region_chart.yaml"


def test_awaiting_a_run_from_python(flow_home: Path, prefect_server: PrefectServer) -> None:
    done = subprocess.run(
        [sys.executable, "examples/await_a_run.py"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PREFECT_API_URL": prefect_server.address.api_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("15 primes [2, 3, 5, 7, 11,")


def test_a_flow_of_ones_own_ends_with_what_it_made_of_the_steps(
    flow_home: Path, prefect_server: PrefectServer
) -> None:
    done = subprocess.run(
        [sys.executable, "examples/custom_flow.py"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PREFECT_API_URL": prefect_server.address.api_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "- East: 53,712.47",
        "- North: 37,032.97",
        "- South: 27,703.44",
    ]


async def publish_chart(decision: str) -> RunReport:
    """Runs the chart's plan on the sample table and answers its question."""
    options = RunOptions(inputs=("examples/data/sales.csv",))
    flow: Any = plan_and_run
    running = asyncio.create_task(flow(plan=CHART_PLAN, options=options, return_state=True))
    (question,) = await waiting()
    assert "May step 'publish'" in question.text
    await answer(question.run_key, decision)
    outcome = await (await running).aresult(raise_on_failure=False)
    return outcome.details["report"] if isinstance(outcome, RunFailedError) else outcome


async def test_the_chart_is_published_once_approved_and_made_from_kept_steps_the_next_time(
    flow_home: Path,
) -> None:
    report = await publish_chart("approve")
    assert report.status == "completed"
    place = Path(report.directory) / "workspace/publish"
    assert "| East | 53,712.47 |" in (place / "page.md").read_text(encoding="utf-8")
    assert (place / "Totals.png").read_bytes().startswith(b"\x89PNG")
    assert report.spend.model_calls == 0

    denied = await publish_chart("deny")
    by_id = {step.step_id: step for step in denied.steps}
    assert (denied.status, by_id["publish"].status) == ("failed", StepStatus.BLOCKED)
    for step_id in ("totals", "chart"):
        result = by_id[step_id].result
        assert result
        assert result.reused_from
        assert result.reused_from.run_key == report.run_key


def test_serving_a_schedule_registers_it_and_runs_it_on_demand(
    flow_home: Path, prefect_server: PrefectServer
) -> None:
    api = prefect_server.address.api_url
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    with subprocess.Popen(
        [sys.executable, "examples/serve_a_schedule.py"],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as served:
        try:
            deployment = eventually(api, "deployments/name/plan-and-run/hourly-report")
            flow_run = post(api, f"deployments/{deployment['id']}/create_flow_run")
            state = finished(api, flow_run["id"])
        finally:
            served.send_signal(signal.SIGINT)
    assert state["type"] == "COMPLETED", state["message"]
    assert (flow_home / "runs" / flow_run["id"] / "workspace/report/report.md").exists()
