"""A launched process that stays open and is talked to, watched all its life."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tools.sandbox.base import Killed, SandboxCommand
from tools.sandbox.process import GATE, Launch, exit_code, start, uninterrupted, watchdog_of
from tools.sandbox.process_tree import end_tree
from tools.sandbox.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class LaunchedProcess:
    """See ``tools.sandbox.base.LiveProcess``."""

    stdin: StreamWriter
    stdout: StreamReader
    stderr: StreamReader
    process: Process
    watchdog: Watchdog

    async def ended(self) -> Killed | None:
        leaving = asyncio.ensure_future(self.process.wait())
        watching = asyncio.ensure_future(self.watchdog.watch(self.process.pid, endless=True))
        try:
            await asyncio.wait({leaving, watching}, return_when=asyncio.FIRST_COMPLETED)
            return watching.result() if watching.done() and not leaving.done() else None
        finally:
            watching.cancel()
            leaving.cancel()

    async def end(self) -> int:
        await uninterrupted(end_tree(self.process))
        return exit_code(self.process)

    def begin_command(self) -> None:
        self.watchdog.forgive_cpu_time(self.process.pid)


@asynccontextmanager
async def opened_launch(launch: Launch, command: SandboxCommand) -> AsyncGenerator[LaunchedProcess]:
    """Starts a prepared command line; nothing of it is alive afterwards."""
    process = await start(launch)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    watchdog = watchdog_of(launch, command, ())
    streams = (process.stdin, process.stdout, process.stderr)
    live = LaunchedProcess(*streams, process, watchdog)
    try:
        if launch.report:
            await launch.report.underway()
        # One that could not start is found out by its first command.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            live.stdin.write(GATE + command.stdin)
            await live.stdin.drain()
        yield live
    finally:
        await live.end()
        if launch.report:
            await launch.report.emptied()
        live.stdin.close()
