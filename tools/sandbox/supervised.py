"""Launching a command below the supervisor, for backends without a process namespace."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from pathlib import Path

from core.base import JsonObject
from core.errors import SandboxUnavailableError
from tools.sandbox.base import Level, SandboxCommand, SandboxLimits
from tools.sandbox.layout import base_environment
from tools.sandbox.process import TASKS_PER_PROCESS, Launch
from tools.workspace import BOOKKEEPING_PREFIX

_MACHINERY = 3


def supervised_launch(
    level: Level, command: SandboxCommand, orders: JsonObject, prefix: tuple[str, ...] = ()
) -> Launch:
    """``orders`` adds to what every supervised command needs; ``prefix`` runs the supervisor.

    Temporary files and HOME lie in the step's directory: there is no private /tmp.
    """
    temporary = command.directory.path / BOOKKEEPING_PREFIX / "tmp"
    _make(temporary, command.directory.owner)
    everything = {**_orders(command, str(temporary)), **orders}
    fd = os.memfd_create("orders")
    with open(fd, "wb", closefd=False) as file:
        file.write(json.dumps(everything).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    interpreter = (sys.executable, "-I", "-S", "-c", _supervisor(), str(fd))
    # sandlock looks for a home directory, and the user may have none.
    own = {"HOME": str(temporary)}
    return Launch((*prefix, *interpreter), level, own, (fd,), machinery=_MACHINERY)


def _orders(command: SandboxCommand, temporary: str) -> JsonObject:
    basic = base_environment(temporary, temporary)
    return {
        "runner": os.getpid(),
        "argv": [_program(command.argv[0], basic["PATH"]), *command.argv[1:]],
        "directory": str(command.directory.path),
        "environment": {**basic, **command.environment},
        "rlimits": _rlimits(command.limits),
        "user": None,
    }


@functools.cache
def _supervisor() -> str:
    return Path(__file__).with_name("supervisor.py").read_text(encoding="utf-8")


def _program(name: str, path: str) -> str:
    found = shutil.which(name, path=path)
    if found is None:
        raise SandboxUnavailableError(f"no program '{name}' in {path}")
    return found


def _make(temporary: Path, owner: int | None) -> None:
    for folder in (temporary.parent, temporary):
        folder.mkdir(exist_ok=True)
        if owner is not None:
            os.chown(folder, owner, owner, follow_symlinks=False)


def _rlimits(limits: SandboxLimits) -> dict[str, int]:
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": limits.disk_bytes,
        "RLIMIT_NPROC": _own_tasks() + limits.max_processes * TASKS_PER_PROCESS,
    }


def _own_tasks() -> int:
    """Tasks of this user now: outside a user namespace the limit counts them all."""
    if os.geteuid() == 0:
        return 0
    owned = (p for p in Path("/proc").iterdir() if p.name.isdigit())
    return sum(_tasks(process) for process in owned)


def _tasks(process: Path) -> int:
    try:
        if process.stat().st_uid == os.geteuid():
            return len(os.listdir(process / "task"))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we counted
    return 0
