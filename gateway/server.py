"""The local Prefect server: started on first use, shared by every command, stopped by name.

A PREFECT_API_URL of the user is used as it is and nothing is started. Otherwise there is one
server per MANUS_HOME, in the background, with its SQLite file and its log under
``$MANUS_HOME/prefect``. On 127.0.0.1 it answers this machine and its own pages only; on any other
address it asks for an authentication string.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.base import Value
from core.errors import BadInputError, EnvironmentUnusableError
from core.settings import Settings
from gateway.server_environment import (
    Listening,
    client_environment,
    is_loopback,
    without_proxy,
)
from gateway.server_lifecycle import Progress, answers, end, start, wait_until_healthy
from gateway.server_record import ServerFiles, ServerRecord

START_TIMEOUT_SECONDS = 180.0


class ServerAddress(Value):
    """Where Prefect is. ``started`` tells whether this call started it, ``local`` whether the
    server is ours; ``auth_string`` is what its clients must send."""

    api_url: str
    ui_url: str
    started: bool = False
    local: bool = False
    auth_string: SecretStr | None = None


class ServerStatus(Value):
    """What is known of the server without starting it. ``log`` and ``pid`` only for our own."""

    api_url: str | None = None
    ui_url: str | None = None
    local: bool
    healthy: bool
    pid: int | None = None
    started_at: datetime | None = None
    log: Path | None = None


def ensure_server(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    auth_string: SecretStr | None = None,
    progress: Progress = lambda _: None,
) -> ServerAddress:
    """Finds the server that answers, or starts it and waits (first start: 10-35 s).

    From several processes at once, one starts it. Without ``port``: the last one used, else 4200,
    else any free one (0 asks for that). ``auth_string`` (``user:password``) defaults to
    PREFECT_API_AUTH_STRING.

    Raises:
        BadInputError: others can reach ``host`` without authentication, or a server of this home
            listens elsewhere.
        EnvironmentUnusableError: it did not start (with the end of its log), or the port is taken.
    """
    if chosen := os.environ.get("PREFECT_API_URL"):
        return ServerAddress(api_url=chosen, ui_url=_ui_url(chosen))
    wanted = _wish(host, port, auth_string)
    files = _files(settings)
    record = files.read()
    if record and record.alive and answers(_origin(record)):
        return _address(_checked(record, wanted), wanted.auth_string)
    with files.locked(START_TIMEOUT_SECONDS):
        return _find_or_start(files, wanted, progress)


def server_status(settings: Settings) -> ServerStatus:
    """Looks at the server and changes nothing."""
    if chosen := os.environ.get("PREFECT_API_URL"):
        return ServerStatus(
            api_url=chosen, ui_url=_ui_url(chosen), local=False, healthy=answers(_ui_url(chosen))
        )
    files = _files(settings)
    record = files.read()
    if record is None or not record.alive:
        return ServerStatus(local=True, healthy=False, log=files.log)
    origin = _origin(record)
    return ServerStatus(
        api_url=f"{origin}/api",
        ui_url=origin,
        local=True,
        healthy=answers(origin),
        pid=record.pid,
        started_at=record.started_at,
        log=files.log,
    )


def stop_server(settings: Settings) -> bool:
    """Ends the server of this MANUS_HOME, if we started it and it still runs.

    Returns:
        Whether there was one to stop.
    """
    files = _files(settings)
    if not files.record.exists():
        return False
    with files.locked(START_TIMEOUT_SECONDS):
        record = files.read()
        stopped = record is not None and end(record)
        if record is not None and record.pid is not None:
            files.write(record.stopped())
        return stopped


def point_prefect_at(address: ServerAddress, settings: Settings) -> None:
    """Sets this process's environment for Prefect's client; call it before importing prefect.

    Where prefect is imported already (a notebook, a test) its settings are read again. Variables
    the user has set stay, except those that say where the server is.
    """
    for name, value in client_environment(settings.home.absolute() / "results").items():
        os.environ.setdefault(name, value)
    os.environ["PREFECT_API_URL"] = address.api_url
    if address.local:
        os.environ["PREFECT_HOME"] = str(settings.home.absolute() / "prefect")
        os.environ.update(without_proxy(os.environ, urlsplit(address.api_url).hostname or ""))
    if address.auth_string:
        os.environ["PREFECT_API_AUTH_STRING"] = address.auth_string.get_secret_value()
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _wish(host: str, port: int | None, auth_string: SecretStr | None) -> Listening:
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
    found = next((os.environ[n] for n in names if os.environ.get(n)), None)
    auth = auth_string or (SecretStr(found) if found else None)
    if not is_loopback(host) and auth is None:
        raise BadInputError(
            f"a Prefect server on {host} can be reached by others and needs an authentication "
            "string: set PREFECT_API_AUTH_STRING=user:password, or listen on 127.0.0.1"
        )
    return Listening(host, port, auth)


def _find_or_start(files: ServerFiles, wanted: Listening, progress: Progress) -> ServerAddress:
    """Runs under the lock: whoever waited for it finds what the other one started."""
    record = files.read()
    if record and record.alive:
        address = _address(_checked(record, wanted), wanted.auth_string)
        wait_until_healthy(record, files, START_TIMEOUT_SECONDS, progress)
        return address
    remembered = record.port if record else None
    record = start(files, wanted, remembered)
    progress(f"starting the Prefect server at {_origin(record)}")
    wait_until_healthy(record, files, START_TIMEOUT_SECONDS, progress)
    return _address(record, wanted.auth_string).model_copy(update={"started": True})


def _checked(record: ServerRecord, wanted: Listening) -> ServerRecord:
    """The record, if that server is what the caller asked for.

    Asking for the loopback address, the default, is content with a server that listens on more.
    """
    other_host = not is_loopback(wanted.host) and wanted.host != record.host
    other_port = wanted.port not in (None, 0, record.port)
    if other_host or other_port:
        raise BadInputError(
            f"the Prefect server already runs on {record.host}, port {record.port}: stop it "
            "first (manus down)"
        )
    if record.needs_auth and wanted.auth_string is None:
        raise EnvironmentUnusableError(
            "the running Prefect server asks for authentication: set PREFECT_API_AUTH_STRING to "
            "the string it was started with"
        )
    return record


def _address(record: ServerRecord, auth: SecretStr | None) -> ServerAddress:
    origin = _origin(record)
    sent = auth if record.needs_auth else None
    return ServerAddress(api_url=f"{origin}/api", ui_url=origin, local=True, auth_string=sent)


def _files(settings: Settings) -> ServerFiles:
    return ServerFiles(settings.home.absolute() / "prefect")


def _origin(record: ServerRecord) -> str:
    return Listening(record.host, record.port).origin


def _ui_url(api_url: str) -> str:
    return os.environ.get("PREFECT_UI_URL") or api_url.removesuffix("/").removesuffix("/api")
