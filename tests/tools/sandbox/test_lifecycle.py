"""Nothing stays alive: after the end, a cancellation, or the death of the runner."""

import asyncio
import contextlib
import os
import signal

import pytest

from tests.tools.sandbox.machine import (
    ORPHAN,
    ORPHAN_AND_SLEEP,
    processes_with,
    python,
    run_plainly,
    start_runner,
    unique_seconds,
    until_gone,
    until_running,
)
from tools.sandbox.base import Sandbox, SandboxCommand
from tools.workspace import StepDirectory


def end(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_an_orphan_in_a_session_of_its_own_dies_with_the_command(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    token = unique_seconds()
    await run_plainly(directory, ORPHAN, token)
    await until_running(token)
    end(processes_with(token))
    await until_gone(token)
    outcome = await sandbox.run(python(directory, ORPHAN, token))
    assert outcome.exit_code == 0
    assert processes_with(token) == []


async def test_every_process_is_dead_before_a_cancellation_goes_on(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    token = unique_seconds()
    code = ORPHAN_AND_SLEEP.replace("{token}", token)
    running = asyncio.ensure_future(sandbox.run(python(directory, code)))
    await until_running(f"sleep\0{token}")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_with(token) == []


async def test_a_cancellation_in_mid_start_leaves_nothing(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    for step in range(12):
        token = unique_seconds()
        command = SandboxCommand(("/bin/sleep", token), directory)
        running = asyncio.ensure_future(sandbox.run(command))
        await asyncio.sleep(step * 0.003)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert processes_with(token) == []


async def test_a_second_cancellation_does_not_cut_the_killing_short(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    token = unique_seconds()
    running = asyncio.ensure_future(sandbox.run(SandboxCommand(("/bin/sleep", token), directory)))
    await until_running(token)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_with(token) == []


async def test_killing_the_runner_kills_what_it_runs(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    token = unique_seconds()
    code = ORPHAN_AND_SLEEP.replace("{token}", token)
    runner = await start_runner(directory, sandbox.level, code)
    try:
        await until_running(f"sleep\0{token}")
    finally:
        runner.kill()
        await runner.wait()
    await until_gone(token)


async def test_runs_at_the_same_time_do_not_mix(sandbox: Sandbox, directory: StepDirectory) -> None:
    commands = [python(directory, f"print({number})") for number in range(8)]
    outcomes = await asyncio.gather(*map(sandbox.run, commands))
    assert [int(outcome.stdout) for outcome in outcomes] == list(range(8))


async def test_no_descriptor_is_left_open(sandbox: Sandbox, directory: StepDirectory) -> None:
    await sandbox.run(python(directory, "pass"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await sandbox.run(python(directory, "pass"))
    assert len(os.listdir("/proc/self/fd")) <= before
