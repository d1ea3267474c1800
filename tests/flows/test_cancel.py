"""A cancelled run stops soon, leaves no process, and can be resumed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelling

from core.result import RunReport
from core.settings import Settings
from flows.planning import plan_and_run
from gateway.cli.cancel import cancelled
from gateway.questions import answer
from gateway.runs import cancel_run, create_flow_run, execute
from tests.conftest import PrefectServer
from tests.fakes.script import Answer, RecordedRequest, ScriptedCall
from tests.flows.conftest import Stage
from tests.flows.test_human import waiting
from tests.flows.test_planning import agent, code, ends, plan

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
    async with asyncio.timeout(90):
        while True:
            if bool(sleepers()) is condition:
                return
            await asyncio.sleep(0.05)


async def state_of(flow_run_id: str) -> State[Any]:
    async with get_client() as client:
        flow_run = await client.read_flow_run(UUID(flow_run_id))
    assert flow_run.state
    return flow_run.state


async def test_a_run_cancelled_by_the_api_stops_and_leaves_no_process(stage: Stage) -> None:
    stage.model.script = sleeping
    running = asyncio.create_task(stage.run(plan(agent("a"))))
    await _until(condition=True)
    (directory,) = (stage.home / "runs").iterdir()
    async with get_client() as client:
        await client.set_flow_run_state(UUID(directory.name), Cancelling())
    await asyncio.wait([running])
    assert not sleepers()
    assert (await state_of(directory.name)).is_cancelled()


async def _manus_run(stage: Stage, server: PrefectServer) -> asyncio.subprocess.Process:
    """``manus run`` of a plan whose one step sleeps, in a process of its own."""
    stage.model.script = sleeping
    path = stage.home.parent / "work.json"
    path.write_text(plan(agent("a")).model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-c", "from gateway.cli.main import main; main()", "run", str(path)]
    environment = {**os.environ, "PREFECT_API_URL": server.address.api_url}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stderr=asyncio.subprocess.PIPE
    )
    await _until(condition=True)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_and_sigterm_cancel_with_130_and_the_run_can_be_resumed(
    stage: Stage, prefect_server: PrefectServer, number: signal.Signals
) -> None:
    process = await _manus_run(stage, prefect_server)
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert not sleepers()
    (directory,) = (stage.home / "runs").iterdir()
    assert f"manus resume {directory.name}" in err.decode()
    stands = RunReport.model_validate_json((directory / "report.json").read_bytes())
    assert stands.status == "cancelled"
    assert (await state_of(directory.name)).is_cancelled()
    _, report = await stage.run(resume_from=directory.name)
    assert report.status == "completed"


async def test_a_second_sigterm_does_not_disturb_how_a_run_ends(
    stage: Stage, prefect_server: PrefectServer
) -> None:
    process = await _manus_run(stage, prefect_server)
    (directory,) = (stage.home / "runs").iterdir()
    while process.returncode is None:  # as a worker does that is itself being stopped
        process.send_signal(signal.SIGTERM)
        await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=0.02)
        if (await state_of(directory.name)).is_final():
            break
    _, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert (await state_of(directory.name)).is_cancelled()


async def test_a_run_that_waits_for_a_person_can_be_cancelled_and_asks_again_when_resumed(
    stage: Stage,
) -> None:
    work = plan(code("a", approval=True))
    running = asyncio.create_task(stage.run(work))
    (question,) = await waiting()
    assert await cancel_run(question.run_key) == 1
    await asyncio.wait([running])
    state = await state_of(question.run_key)
    assert state.is_cancelled()
    assert f"manus resume {question.run_key}" in str(state.message)
    assert await cancel_run(question.run_key) == 0
    resumed = asyncio.create_task(stage.run(resume_from=question.run_key))
    while question.run_key not in {q.run_key for q in await waiting()}:  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # until the new flow run is marked as the same run's
    await answer(question.run_key, "approve")
    _, report = await resumed
    assert report.status == "completed"


async def test_a_run_whose_process_was_killed_is_cancelled_all_the_same(
    stage: Stage, prefect_server: PrefectServer
) -> None:
    process = await _manus_run(stage, prefect_server)
    process.kill()
    await process.communicate()
    (directory,) = (stage.home / "runs").iterdir()
    assert (await state_of(directory.name)).is_running()
    settings = Settings(home=stage.home)
    progress = await cancelled(settings, directory.name, patience_seconds=0)
    assert progress.state == "Cancelled"
    assert progress.message.startswith("cancelled; its process was gone")
    _, report = await stage.run(resume_from=directory.name)
    assert report.status == "completed"


async def test_a_run_cancelled_before_it_begins_ends_as_soon_as_it_does(stage: Stage) -> None:
    stage.model.script = sleeping
    parameters = {"plan": plan(agent("a")).model_dump(mode="json")}
    flow_run = await create_flow_run(plan_and_run, parameters, name=None, tags=())
    assert await cancel_run(str(flow_run.id)) == 1
    assert (await state_of(str(flow_run.id))).is_cancelled()
    state = await execute(plan_and_run, flow_run, parameters)
    assert state.is_cancelled()
    assert not sleepers()
