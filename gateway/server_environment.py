"""The environment variables of the local Prefect server and of the processes that use it.

What protects the server is set whatever the user's environment says. What makes it lighter on a
small machine is a default, which a PREFECT_… variable of the user overrides.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

_SERVICES = "PREFECT_SERVER_SERVICES_"

NO_REPORTING_HOME: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}

LIGHT_SERVER: Mapping[str, str] = {
    # One transaction per event is Prefect's default and most of the server's work. The interval
    # is in whole seconds: the recorder truncates it, and would spin at anything below one.
    _SERVICES + "TASK_RUN_RECORDER_BATCH_SIZE": "100",
    _SERVICES + "TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    _SERVICES + "EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}

QUIET_CLIENT: Mapping[str, str] = {
    # Run logs reach the UI in full; the terminal belongs to the command that is running.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
}

# Keys of model providers and anything else in the caller's environment are no business of a
# long-lived server.
_PASSED_ON = (
    "PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH",
    "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and the ``user:password`` it asks for, if any.

    As a wish, ``port`` may be None (the usual ports) or 0 (any free one).
    """

    host: str
    port: int | None = None
    auth_string: SecretStr | None = None

    @property
    def origin(self) -> str:
        """How this machine reaches it; an address that means "all" is not one to connect to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to ``host``; a name other than localhost is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_environment(home: Path, listening: Listening) -> dict[str, str]:
    """Everything the server process gets; nothing else of the caller's environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(("PREFECT_", "LC_"))
    }
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_API_AUTH_STRING"):
        kept.pop(name, None)
    required = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": listening.host,
        "PREFECT_SERVER_API_PORT": str(listening.port),
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": listening.origin,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        # A path, not an address: else the UI of a server on another port calls port 4200.
        "PREFECT_UI_API_URL": "/api",
    }
    kept.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    if listening.auth_string:
        required["PREFECT_SERVER_API_AUTH_STRING"] = listening.auth_string.get_secret_value()
    return {**NO_REPORTING_HOME, **LIGHT_SERVER, **kept, **required}


def client_environment(results: Path) -> dict[str, str]:
    """Defaults of a process that runs flows, for any server."""
    return {
        **NO_REPORTING_HOME,
        **QUIET_CLIENT,
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(results),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    }


def without_proxy(environment: Mapping[str, str], host: str) -> dict[str, str]:
    """The ``no_proxy`` variables that keep requests to ``host`` off a configured proxy."""
    names = ("no_proxy", "NO_PROXY")
    present = next((environment[n] for n in names if environment.get(n)), "")
    entries = [entry for entry in present.split(",") if entry]
    if host not in entries and "*" not in entries:
        entries.append(host)
    return dict.fromkeys(names, ",".join(entries))
