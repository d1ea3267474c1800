"""How the local Prefect server's process begins, is waited for, and ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from core.errors import EnvironmentUnusableError
from gateway.server_environment import Listening, server_environment
from gateway.server_record import ServerFiles, ServerRecord, process_identity

Progress = Callable[[str], None]

DEFAULT_PORT = 4200
STOP_TIMEOUT_SECONDS = 10.0
_PROBE_TIMEOUT_SECONDS = 2.0
_POLL_SECONDS = 0.2
_PROGRESS_EVERY_SECONDS = 5.0


def start(files: ServerFiles, wanted: Listening, remembered_port: int | None) -> ServerRecord:
    """Starts the process and writes its record; the caller holds the lock.

    Raises:
        EnvironmentUnusableError: the address cannot be listened on.
    """
    with _listen(wanted, remembered_port) as listener:
        port: int = listener.getsockname()[1]
        pid = _spawn(files, replace(wanted, port=port), listener)
    record = ServerRecord(
        host=wanted.host,
        port=port,
        needs_auth=wanted.auth_string is not None,
        pid=pid,
        process_identity=process_identity(pid),
        started_at=datetime.now(UTC),
    )
    files.write(record)
    return record


def wait_until_healthy(
    record: ServerRecord, files: ServerFiles, timeout_seconds: float, progress: Progress
) -> None:
    """
    Raises:
        EnvironmentUnusableError: the process ended, or does not answer; with the end of its log.
    """
    origin = Listening(record.host, record.port).origin
    began = told = time.monotonic()
    while not answers(origin):
        waited = time.monotonic() - began
        if not record.alive or waited > timeout_seconds:
            _reap(record)
            trouble = f"did not answer within {waited:.0f} s" if record.alive else "ended"
            raise EnvironmentUnusableError(
                f"the Prefect server {trouble}; the end of {files.log}:\n{files.log_tail()}"
            )
        if time.monotonic() - told > _PROGRESS_EVERY_SECONDS:
            told = time.monotonic()
            progress(
                f"waiting for the Prefect server ({waited:.0f} s; the first start takes longest)"
            )
        time.sleep(_POLL_SECONDS)


def end(record: ServerRecord) -> bool:
    """Ends the server and everything in its process group, gently, then for good.

    Returns:
        False if the process of the record is not there any more; nothing is signalled then.
    """
    if record.pid is None or not record.alive:
        return False
    os.killpg(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while record.alive and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    with suppress(ProcessLookupError):  # the usual case: the whole group is gone
        os.killpg(record.pid, signal.SIGKILL)
    while record.alive:
        time.sleep(_POLL_SECONDS)
    _reap(record)
    return True


def answers(origin: str) -> bool:
    """Whether a healthy Prefect API is there. Not through a proxy: it is asked directly."""
    parts = urlsplit(origin)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path}/api/health")
        response = connection.getresponse()
        return response.status == 200 and response.read().strip() == b"true"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listen(wanted: Listening, remembered_port: int | None) -> socket.socket:
    """A listening socket, so that nobody can take the port while the server comes up."""
    preferred = [remembered_port, DEFAULT_PORT] if remembered_port else [DEFAULT_PORT]
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    refusals: list[OSError] = []
    for port in [*preferred, 0] if wanted.port is None else [wanted.port]:
        try:
            return socket.create_server((wanted.host, port), family=family, backlog=128)
        except OSError as error:
            refusals.append(error)
    raise EnvironmentUnusableError(
        f"cannot listen on {wanted.host}, port {wanted.port or 'any'}: {refusals[-1].strerror}"
    ) from refusals[-1]


def _spawn(files: ServerFiles, listening: Listening, listener: socket.socket) -> int:
    """A detached process that gets the listening socket and no other descriptor of ours."""
    files.log.unlink(missing_ok=True)
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    os.set_inheritable(listener.fileno(), True)
    command = [sys.executable, "-P", "-m", "gateway.server_process", str(listener.fileno())]
    return os.posix_spawn(
        sys.executable,
        command,
        server_environment(files.directory, listening),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(files.log), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _reap(record: ServerRecord) -> None:
    """Collects the exit status where the server is our own child, so that no zombie stays."""
    if record.pid is None:
        return
    with suppress(ChildProcessError):  # started by another process, as in most cases
        os.waitpid(record.pid, os.WNOHANG)
