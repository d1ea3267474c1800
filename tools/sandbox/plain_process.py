"""A process group of this machine's, for systems without /proc: ended as a group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tools.sandbox.base import Killed, SandboxCommand
from tools.sandbox.process import exit_code, uninterrupted
from tools.sandbox.watchdog import Watchdog, WatchedTree


@dataclass(frozen=True, slots=True)
class GroupProcess:
    """See ``tools.sandbox.base.LiveProcess``. A process that leaves its group is not found."""

    stdin: StreamWriter
    stdout: StreamReader
    stderr: StreamReader
    process: Process
    watchdog: Watchdog

    async def ended(self) -> Killed | None:
        leaving = asyncio.ensure_future(self.process.wait())
        watching = asyncio.ensure_future(self.watchdog.watch(None, endless=True))
        try:
            await asyncio.wait({leaving, watching}, return_when=asyncio.FIRST_COMPLETED)
            return None if leaving.done() else watching.result()
        finally:
            leaving.cancel()
            watching.cancel()

    async def end(self) -> int:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await uninterrupted(self.process.wait())
        return exit_code(self.process)

    def begin_command(self) -> None:
        """CPU time is bounded by the kernel, per process."""


@asynccontextmanager
async def opened_process(
    argv: tuple[str, ...], command: SandboxCommand, environment: Mapping[str, str]
) -> AsyncGenerator[GroupProcess]:
    """Starts it in the step's directory and a session of its own; its group is dead afterwards."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=command.directory.path,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: _limit(command),
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    watchdog = Watchdog(command.limits, WatchedTree(command.directory.path), ())
    live = GroupProcess(process.stdin, process.stdout, process.stderr, process, watchdog)
    try:
        yield live
    finally:
        await live.end()


def _limit(command: SandboxCommand) -> None:
    limits = command.limits
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.disk_bytes, limits.disk_bytes))
    if limits.cpu_seconds is not None:
        seconds = max(1, int(limits.cpu_seconds))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
