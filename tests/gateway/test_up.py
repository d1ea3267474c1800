"""``manus up``: deployments are registered, a worker runs them, ``manus down`` ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.server_record import process_identity
from tests.conftest import PrefectServer
from tests.flows.prefect_api import eventually, finished, post


def _manus(environment: Mapping[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", "from gateway.cli.main import main; main()", *arguments, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_scheduled_deployment_runs_in_the_worker(
    flow_home: Path, prefect_server: PrefectServer
) -> None:
    api = prefect_server.address.api_url
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    started = _manus(environment, "up")
    try:
        assert _manus(environment, "up")["worker_pid"] == started["worker_pid"]
        names = ["plan-and-run/plan-and-run", "usage-rollup/usage-rollup"]
        for name in names:
            eventually(api, f"deployments/name/{name}")
        weekly = eventually(api, "deployments/name/plan-and-run/weekly-report")
        assert [s["active"] for s in weekly["schedules"]] == [True]
        flow_run = post(api, f"deployments/{weekly['id']}/create_flow_run")
        state = finished(api, flow_run["id"])
        assert state["type"] == "COMPLETED", state["message"]
        assert (flow_home / "runs" / flow_run["id"] / "report.md").exists()
        rollup = eventually(api, "deployments/name/usage-rollup/usage-rollup")
        flow_run = post(api, f"deployments/{rollup['id']}/create_flow_run")
        assert finished(api, flow_run["id"])["type"] == "COMPLETED"
        assert (flow_home / "usage.duckdb").exists()
    finally:
        stopped = _manus(environment, "down")
    assert stopped == {"worker_stopped": True, "server_stopped": False}
    assert process_identity(started["worker_pid"]) is None
