"""Runs on a worker: cancelled, and ended with the worker, they end in good order."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType

from core.plan import Plan, PlanStep
from core.result import RunReport
from gateway.runs import start_run
from tests.conftest import PrefectServer

MARK = "31338.5"
SLEEP_ONCE = f"test -e again && exit; touch again; setsid sleep {MARK} & wait"
NAP = PlanStep(id="nap", title="Nap", kind="tool", tool="bash", args={"command": SLEEP_ONCE})
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Worker:
    """One that runs deployments on the session's server, and its MANUS_HOME."""

    home: Path
    environment: dict[str, str]

    def manus(self, *arguments: str) -> Any:
        command = [sys.executable, "-c", "from gateway.cli.main import main; main()"]
        done = subprocess.run(
            [*command, *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start_napping(self) -> str:
        """The key of a run whose only step sleeps in a shell."""
        plan = Plan(title="Nap", summarize=False, steps=(NAP,))
        parameters = {"plan": plan.model_dump(mode="json")}
        key = asyncio.run(start_run("plan-and-run/plan-and-run", parameters))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not sleepers():
            assert time.monotonic() < deadline, "the run did not begin"
            time.sleep(0.1)
        return key

    def report(self, key: str) -> RunReport:
        return RunReport.model_validate_json(
            (self.home / "runs" / key / "report.json").read_bytes()
        )


@pytest.fixture
def worker(flow_home: Path, prefect_server: PrefectServer) -> Iterator[Worker]:
    api = prefect_server.address.api_url
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    worker = Worker(flow_home, environment)
    worker.manus("up")
    try:
        yield worker
    finally:
        worker.manus("down")


def sleepers() -> list[Path]:
    """The processes that the step started."""
    found: list[Path] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"sleep\0" + MARK.encode()):
                found.append(path)
        except OSError:  # it ended meanwhile
            continue
    return found


def state_of(key: str) -> State[Any]:
    async def read() -> State[Any]:
        async with get_client() as client:
            flow_run = await client.read_flow_run(UUID(key))
        assert flow_run.state
        return flow_run.state

    return asyncio.run(read())


def test_runs_on_a_worker_end_cancelled_by_manus_cancel_and_with_the_worker(
    worker: Worker,
) -> None:
    key = worker.start_napping()
    assert worker.manus("cancel", key[:13])["state"] == "Cancelled"
    assert not sleepers()
    assert worker.report(key).status == "cancelled"
    assert f"manus resume {key}" in str(state_of(key).message)

    second = worker.start_napping()
    assert worker.manus("down")["worker_stopped"]
    assert not sleepers()
    assert worker.report(second).status == "cancelled"
    assert state_of(second).type is StateType.CANCELLED

    for cancelled in (key, second):
        assert worker.manus("resume", cancelled)["status"] == "completed"
