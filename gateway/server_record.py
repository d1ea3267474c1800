"""What is known on disk of the local Prefect server, and who may change it.

``$MANUS_HOME/prefect/server.json`` names the process by pid *and* start time, because pids are
reused: a record whose process is gone, or is another program by now, counts as no server.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from core.base import Value
from core.errors import EnvironmentUnusableError

_LOCK_POLL_SECONDS = 0.1


class ServerRecord(Value):
    """``pid`` is None once the server was stopped; the port is kept for the next start."""

    host: str
    port: int
    needs_auth: bool = False
    pid: int | None = None
    process_identity: str | None = None
    started_at: datetime

    @property
    def alive(self) -> bool:
        """Whether the very process that was started still runs (a zombie does not)."""
        if self.pid is None or self.process_identity is None:
            return False
        return process_identity(self.pid) == self.process_identity

    def stopped(self) -> ServerRecord:
        return self.model_copy(update={"pid": None, "process_identity": None})


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """The server's directory, which is also its PREFECT_HOME (SQLite lives there too)."""

    directory: Path

    @property
    def record(self) -> Path:
        return self.directory / "server.json"

    @property
    def lock(self) -> Path:
        return self.directory / "server.lock"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def read(self) -> ServerRecord | None:
        """
        Raises:
            EnvironmentUnusableError: the file is there and cannot be understood. It may belong to
                a running server, so it is not overwritten.
        """
        try:
            return ServerRecord.model_validate_json(self.record.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise EnvironmentUnusableError(
                f"{self.record} is damaged: end the server it was written for, then delete it"
            ) from error

    def write(self, record: ServerRecord) -> None:
        """Replaces the record as a whole, so that a reader never sees half of one."""
        temporary = self.record.with_suffix(".tmp")
        temporary.write_text(record.model_dump_json(indent=2), encoding="utf-8")
        temporary.replace(self.record)

    def log_tail(self, lines: int = 15) -> str:
        if not self.log.is_file():
            return "(no log was written)"
        return "\n".join(
            self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        )

    @contextmanager
    def locked(self, timeout_seconds: float) -> Generator[None]:
        """Holds the right to start or stop the server, across processes and threads.

        Raises:
            EnvironmentUnusableError: somebody else held it for the whole time.
        """
        for place in (self.directory.parent, self.directory):  # the mode is not for parents
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout_seconds
        with self.lock.open("a", encoding="utf-8") as handle:
            while not _try_lock(handle.fileno()):
                if time.monotonic() > deadline:
                    raise EnvironmentUnusableError(
                        f"another process has been starting or stopping the Prefect server for "
                        f"{timeout_seconds:.0f} s (it holds {self.lock})"
                    )
                time.sleep(_LOCK_POLL_SECONDS)
            yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def process_identity(pid: int) -> str | None:
    """A text that no two processes share, even with the same pid; None for a dead process."""
    if not Path("/proc/self/stat").is_file():
        return _identity_from_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the command, in parentheses, may hold blanks
    state, start_ticks = fields[0], fields[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None if state in "ZX" else f"{boot}/{start_ticks}"


def _identity_from_ps(pid: int) -> str | None:
    """For systems without /proc: the start time to the second, as ps prints it."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    environment = {**os.environ, "LC_ALL": "C"}
    printed = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    state, _, started = printed.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()
