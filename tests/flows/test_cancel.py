"""A cancelled run stops soon, leaves no process, and can be resumed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from core.result import RunReport
from tests.conftest import PrefectServer
from tests.fakes.script import Answer, RecordedRequest, ScriptedCall
from tests.flows.conftest import Stage
from tests.flows.test_planning import agent, ends, plan

MARK = "31337.5"
SLEEP_ONCE = f"test -e again && exit; touch again; setsid sleep {MARK} & wait"
"""The second time it does nothing: a resume replays the model's answer and runs the tool again."""


def sleeping(request: RecordedRequest) -> Answer:
    if request.messages[-1]["role"] == "tool":
        return ends("success")
    return Answer(tool_calls=(ScriptedCall("bash", {"command": SLEEP_ONCE}),))


def sleepers() -> list[str]:
    """Command lines of the processes that the tool started."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if line.startswith(b"sleep\0" + MARK.encode()):
            found.append(line.decode())
    return found


async def _until(condition: bool) -> None:
    async with asyncio.timeout(30):
        while True:
            if bool(sleepers()) is condition:
                return
            await asyncio.sleep(0.05)


async def test_a_run_cancelled_by_the_api_stops_and_leaves_no_process(stage: Stage) -> None:
    stage.model.script = sleeping
    running = asyncio.create_task(stage.run(plan(agent("a"))))
    await _until(condition=True)
    (directory,) = (stage.home / "runs").iterdir()
    async with get_client() as client:
        await client.set_flow_run_state(UUID(directory.name), Cancelling())
    began = time.monotonic()
    await asyncio.wait([running], timeout=30)
    assert running.done()
    assert time.monotonic() - began < 15
    assert not sleepers()
    async with get_client() as client:
        flow_run = await client.read_flow_run(UUID(directory.name))
    assert flow_run.state
    assert flow_run.state.is_cancelled()


async def test_ctrl_c_cancels_with_130_and_the_run_can_be_resumed(
    stage: Stage, prefect_server: PrefectServer
) -> None:
    stage.model.script = sleeping
    work = plan(agent("a"))
    path = stage.home.parent / "work.json"
    path.write_text(work.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-c", "from gateway.cli.main import main; main()"]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server.address.api_url}
    process = await asyncio.create_subprocess_exec(
        *command, "run", str(path), env=environment, stderr=asyncio.subprocess.PIPE
    )
    await _until(condition=True)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert not sleepers()
    (directory,) = (stage.home / "runs").iterdir()
    assert f"manus resume {directory.name}" in err.decode()
    cancelled = RunReport.model_validate_json((directory / "report.json").read_bytes())
    assert cancelled.status == "cancelled"
    _, report = await stage.run(resume_from=directory.name)
    assert report.status == "completed"
