"""One process at a time works on a run."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path

from core.errors import RunLockedError

_TRIES = 5
_PAUSE_SECONDS = 0.02


class RunLease:
    """An exclusive lock on a run's directory; the kernel frees it when its holder dies, however.

    It guards against two resumes that would both pay. It holds on one machine and file system.
    """

    def __init__(self, directory: Path) -> None:
        """Takes the lease.

        Raises:
            RunLockedError: names the process that holds it.
        """
        self._path = directory / "lease"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(self._file):
            os.close(self._file)
            raise RunLockedError(
                f"run {directory.name} is being worked on by {_holder(self._path)}; "
                "wait for it or stop it first"
            )
        os.ftruncate(self._file, 0)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        os.pwrite(self._file, json.dumps(holder).encode(), 0)

    def release(self) -> None:
        os.close(self._file)


def _lock(file: int) -> bool:
    """Tries more than once: who asks ``is_held`` has the lock for an instant."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError):
        return "another process"


def is_held(directory: Path) -> bool:
    """Whether some process holds the lease now."""
    path = directory / "lease"
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
