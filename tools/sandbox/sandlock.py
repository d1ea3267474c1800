"""The sandlock backend: Landlock and seccomp, for machines without usable user namespaces.

Of the machine's files the same are readable as in bubblewrap, at their real paths. As root the
supervisor gives up every capability but those that let it use the step's files.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from core.base import JsonObject
from core.errors import SandboxUnavailableError
from tools.sandbox.base import Level, SandboxCommand, SandboxOutcome
from tools.sandbox.layout import ETC_FILES, SYSTEM_DIRECTORIES, base_environment, interpreter_trees
from tools.sandbox.probe import probe_sandbox
from tools.sandbox.process import run_launch
from tools.sandbox.supervised import supervised_launch
from tools.workspace import BOOKKEEPING_PREFIX

_WITHOUT_CAPABILITIES = (
    *("setpriv", "--no-new-privs", "--inh-caps=-all"),
    *("--bounding-set=-all,+dac_override,+fowner,+chown", "--"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class SandlockSandbox:
    """See ``tools.sandbox.base.Sandbox``."""

    level: Level = "sandlock"

    async def probe(self) -> None:
        if importlib.util.find_spec("sandlock") is None:
            raise SandboxUnavailableError("the package sandlock is not installed")
        await probe_sandbox(self)

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        orders: JsonObject = {"packages": _packages(), "sandlock": _policy(command)}
        prefix = _WITHOUT_CAPABILITIES if os.geteuid() == 0 else ()
        return await run_launch(supervised_launch(self.level, command, orders, prefix), command)

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
    readable = [*system, *map(str, interpreter_trees()), *beside]
    home = str(directory.path / BOOKKEEPING_PREFIX / "tmp")
    return {
        "fs_readable": [path for path in readable if Path(path).exists()],
        "fs_writable": [str(directory.path), "/dev/null"],
        "max_memory": command.limits.memory_bytes,
        "max_processes": command.limits.max_processes,
        "clean_env": True,
        "env": {**base_environment(home, home), **command.environment},
        "cwd": str(directory.path),
    }
