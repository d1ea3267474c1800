"""The process of the local Prefect server: ``python -m gateway.server_process FD``.

It is Prefect's own application on a socket that was bound for it, behind a guard. Prefect's CORS
and CSRF settings leave two doors open to a web page in the user's browser: websockets (events can
be sent in, and automations act on events) and DNS rebinding (everything can be read). The guard
closes both, and keeps other pages from framing the UI to steal a click on an approval.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

NICENESS = 10
SHUTDOWN_SECONDS = 3
_OWN_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_POLICY = (b"content-security-policy", b"frame-ancestors 'none'; connect-src 'self'")
_REFUSAL = b"this server answers only this machine, and pages of its own origin"


class OwnOriginOnly:
    """ASGI wrapper for a server on the loopback interface.

    A request must name this machine in ``Host``, and if a browser says from which page it comes
    (``Origin``), that page must be ours. Programs send no ``Origin`` and pass. Any port is fine
    in ``Host`` (it may be forwarded), but ``Origin`` must then have the same.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_own(scope):
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "foreign origin"})
        else:
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})


def _is_own(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
    try:
        own_name = len(hosts) == 1 and urlsplit(f"//{hosts[0]}").hostname in _OWN_NAMES
    except ValueError:  # a malformed IPv6 address
        return False
    return own_name and all(origin == f"http://{hosts[0]}" for origin in origins)


class Unframed:
    """ASGI wrapper: our pages appear in no other page, and connect to nothing but us."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), _POLICY]}
            await send(message)

        await self._application(scope, receive, send_with_policy)


def main() -> None:
    """Serves until SIGTERM. Expects the environment that ``server_environment`` makes."""
    os.nice(NICENESS)  # a run's own work goes first
    os.chdir(os.environ["PREFECT_HOME"])  # Prefect reads .env and prefect.toml where it stands

    # Prefect takes its settings and its files from where and how it is imported: not earlier.
    import uvicorn
    from prefect.server.api.server import create_app

    application: Application = Unframed(create_app(final=True))
    if not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        application = OwnOriginOnly(application)
    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
