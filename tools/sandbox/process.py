"""Runs a prepared command line under a watchdog; every backend ends up here.

The command is started by the thread of the event loop: the kernel's parent-death signal, on which
the backends rely, follows the thread that forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tools.sandbox.base import Killed, Level, SandboxCommand, SandboxLimits, SandboxOutcome
from tools.sandbox.output import CappedOutput
from tools.sandbox.process_tree import end_tree
from tools.sandbox.report import RunReport
from tools.sandbox.watchdog import Watchdog, WatchedTree

T = TypeVar("T")
Outputs = tuple[CappedOutput, CappedOutput]
"""Standard output and standard error."""

GATE = b"\n"
GATE_SHELL = """\
read -r go || exit 125
ulimit -c 0; ulimit -n 4096; ulimit -f "$2"; ulimit -u "$1" 2>/dev/null || ulimit -p "$1"
shift 2
exec "$@"
"""
"""Waits for a line on stdin before the command starts; limits tasks to ``$1``, files to ``$2``.

Without the line (the runner died before it could be sure that its death would be noticed) nothing
starts. dash spells the limit of tasks ``-p``, other shells ``-u``. It is set here, inside the
sandbox's own user namespace, because outside it would count every process of the user.
"""

TASKS_PER_PROCESS = 4
"""Threads count as tasks; the watchdog counts processes."""


def gate(limits: SandboxLimits) -> tuple[str, ...]:
    """Command prefix that starts nothing before ``run_launch`` opens the gate."""
    tasks, blocks = limits.max_processes * TASKS_PER_PROCESS, limits.disk_bytes // 512
    return ("/bin/sh", "-c", GATE_SHELL, "sh", str(tasks), str(blocks))


@dataclass(frozen=True, slots=True)
class Launch:
    """How a backend starts a command. ``report`` tells when the gate may open.

    ``child_fds`` are inherited and then closed here; ``machinery`` counts the backend's own
    processes below the one that is started. ``memory_directories`` are held in memory, inside.
    """

    argv: tuple[str, ...]
    level: Level
    environment: Mapping[str, str]
    child_fds: tuple[int, ...] = field(default=())
    report: RunReport | None = None
    machinery: int = 0
    memory_directories: tuple[str, ...] = ()


async def run_launch(launch: Launch, command: SandboxCommand) -> SandboxOutcome:
    """Runs to the end or to the first exceeded limit; no process survives, nor a cancellation."""
    started = time.monotonic()
    process = await start(launch)
    outputs = (_capped(command), _capped(command))
    running = asyncio.ensure_future(_communicate(process, launch, command, outputs))
    watchdog = watchdog_of(launch, command, outputs)
    watching = asyncio.ensure_future(watchdog.watch(process.pid))
    killed: Killed | None = None
    try:
        await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            killed = watching.result()
    finally:
        watching.cancel()
        if not running.done():
            await uninterrupted(_end(process, running))
    running.result()
    killed = killed or await watchdog.too_much_on_disk()
    return _outcome(process, launch.level, outputs, killed, time.monotonic() - started)


def watchdog_of(
    launch: Launch, command: SandboxCommand, outputs: Sequence[CappedOutput]
) -> Watchdog:
    frame = WatchedTree(command.directory.path, launch.machinery, launch.memory_directories)
    return Watchdog(command.limits, frame, outputs)


def _outcome(
    process: Process, level: Level, outputs: Outputs, killed: Killed | None, seconds: float
) -> SandboxOutcome:
    return SandboxOutcome(
        exit_code=exit_code(process),
        stdout=outputs[0].kept,
        stderr=outputs[1].kept,
        duration_seconds=seconds,
        level=level,
        killed=killed,
        truncated=any(output.truncated for output in outputs),
    )


def exit_code(process: Process) -> int:
    code = process.returncode
    assert code is not None
    return code if code >= 0 else 128 - code


def _capped(command: SandboxCommand) -> CappedOutput:
    return CappedOutput(command.limits.max_output_bytes)


async def start(launch: Launch) -> Process:
    """A cancellation in mid-start waits for the process to exist and ends it."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *launch.argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd="/",
            env=launch.environment,
            pass_fds=launch.child_fds,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await uninterrupted(_end_started(starting))
        raise
    finally:
        for fd in launch.child_fds:
            os.close(fd)


async def _end_started(starting: asyncio.Future[Process]) -> None:
    process = await starting
    await end_tree(process)


async def _communicate(
    process: Process,
    launch: Launch,
    command: SandboxCommand,
    outputs: Outputs,
) -> None:
    assert process.stdin
    assert process.stdout
    assert process.stderr
    await asyncio.gather(
        _feed(process.stdin, launch, command.stdin),
        outputs[0].drain(process.stdout),
        outputs[1].drain(process.stderr),
        process.wait(),
    )
    if launch.report:
        await launch.report.emptied()


async def _feed(stdin: asyncio.StreamWriter, launch: Launch, content: bytes) -> None:
    if launch.report:
        await launch.report.underway()
    # A command may end without reading what it was given.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(GATE + content)
        await stdin.drain()
    stdin.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stdin.wait_closed()


async def _end(process: Process, running: asyncio.Future[None]) -> None:
    await end_tree(process)
    # With every writer dead the streams end; what was still in the pipes is part of the output.
    await asyncio.wait({running})


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Finishes ``work`` even if cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()
