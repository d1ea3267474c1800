"""The last resort: resource limits, a cleared environment, and nothing else.

The network and the files of the machine stay open to the code, except what another user may not
read: as root it runs as an unprivileged user. Only used when ``allow_unsafe`` says so.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tools.sandbox.base import Level, LiveProcess, SandboxCommand, SandboxOutcome
from tools.sandbox.live import opened_launch
from tools.sandbox.probe import probe_sandbox
from tools.sandbox.process import Launch, run_launch
from tools.sandbox.supervised import supervised_launch
from tools.workspace import SANDBOX_UID


class RlimitsSandbox:
    """See ``tools.sandbox.base.Sandbox``; the level says how little it promises."""

    level: Level = "rlimits"

    async def probe(self) -> None:
        await probe_sandbox(self, confined=False)

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        return await run_launch(self._launch(command), command)

    @asynccontextmanager
    async def open(self, command: SandboxCommand) -> AsyncGenerator[LiveProcess]:
        async with opened_launch(self._launch(command), command) as process:
            yield process

    def _launch(self, command: SandboxCommand) -> Launch:
        orders = {"user": SANDBOX_UID if os.geteuid() == 0 else None}
        return supervised_launch(self.level, command, orders)

    async def close(self) -> None:
        """Nothing is kept."""
