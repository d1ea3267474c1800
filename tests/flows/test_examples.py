"""The examples run as they are shipped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from core.settings import PROJECT_ROOT
from tests.conftest import PrefectServer
from tests.flows.prefect_api import eventually, finished, post


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
