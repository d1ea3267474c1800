"""The sandlock backend: Landlock and seccomp, for machines without usable user namespaces.

Of the machine's files the same are readable as in bubblewrap, at their real paths. As root the
supervisor gives up every capability but those that let it use the step's files.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from core.base import JsonObject
from core.errors import SandboxUnavailableError
from tools.sandbox.base import Level, LiveProcess, SandboxCommand, SandboxOutcome
from tools.sandbox.layout import ETC_FILES, SYSTEM_DIRECTORIES, base_environment, interpreter_trees
from tools.sandbox.live import opened_launch
from tools.sandbox.probe import probe_sandbox
from tools.sandbox.process import Launch, run_launch
from tools.sandbox.supervised import supervised_launch
from tools.workspace import BOOKKEEPING_PREFIX

_WITHOUT_CAPABILITIES = (
    *("setpriv", "--no-new-privs", "--inh-caps=-all"),
    *("--bounding-set=-all,+dac_override,+fowner,+chown", "--"),
)
_ANYWHERE = ["*:*"]
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class SandlockSandbox:
    """See ``tools.sandbox.base.Sandbox``."""

    level: Level = "sandlock"

    async def probe(self) -> None:
        if importlib.util.find_spec("sandlock") is None:
            raise SandboxUnavailableError("the package sandlock is not installed")
        await probe_sandbox(self)

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        return await run_launch(self._launch(command), command)

    @asynccontextmanager
    async def open(self, command: SandboxCommand) -> AsyncGenerator[LiveProcess]:
        async with opened_launch(self._launch(command), command) as process:
            yield process

    def _launch(self, command: SandboxCommand) -> Launch:
        orders: JsonObject = {"packages": _packages(), "sandlock": _policy(command)}
        prefix = _WITHOUT_CAPABILITIES if os.geteuid() == 0 else ()
        return supervised_launch(self.level, command, orders, prefix)

    async def close(self) -> None:
        """Nothing is kept."""


def _packages() -> list[str]:
    found = importlib.util.find_spec("sandlock")
    assert found
    assert found.origin
    return [str(Path(found.origin).parent.parent)]


def _policy(command: SandboxCommand) -> JsonObject:
    """Arguments of ``sandlock.Sandbox``; no network rule means no network."""
    directory = command.directory
    beside = [str(directory.root / name) for name in directory.readable]
    system = ["/usr", *SYSTEM_DIRECTORIES, *ETC_FILES, *_DEVICES]
    network = _NETWORK_FILES if command.limits.network else ()
    readable = [*system, *map(str, interpreter_trees()), *beside, *network]
    home = str(directory.path / BOOKKEEPING_PREFIX / "tmp")
    return {
        "fs_readable": [path for path in readable if Path(path).exists()],
        "fs_writable": [str(directory.path), "/dev/null"],
        "max_memory": command.limits.memory_bytes,
        "max_processes": command.limits.max_processes,
        "net_allow": _ANYWHERE if command.limits.network else [],
        "clean_env": True,
        "env": {**base_environment(home, home), **command.environment},
        "cwd": str(directory.path),
    }
