"""The MCP server over HTTP: for those who have the token, from this server's own address."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadInputError, ConfigError

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_SHORTEST_TOKEN = 16
_WILDCARDS = ("", "0.0.0.0", "::")


def read_or_make_token(file: Path) -> str:
    """The token that clients must send; made once, readable by its owner alone.

    Raises:
        ConfigError: the file is there and others may read it, or it holds none worth the name.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    whole = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    fd = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "w", encoding="utf-8") as opened:
        opened.write(secrets.token_urlsafe(32) + "\n")
    # A link, so that the file is never there without its token, which an empty header would match.
    with contextlib.suppress(FileExistsError):
        file.hardlink_to(whole)
    whole.unlink()
    return _token_in(file)


def _token_in(file: Path) -> str:
    token = file.read_text(encoding="utf-8").strip()
    if len(token) < _SHORTEST_TOKEN:
        raise ConfigError(f"{file}: holds no token of {_SHORTEST_TOKEN} characters; delete it")
    if file.stat().st_mode & 0o077:
        raise ConfigError(f"{file}: others may read it; delete it, or make it yours alone")
    return token


def http_app(server: Server[Any], host: str, token: str) -> ASGIApp:
    """``/mcp`` with the token required, and Host and Origin held against ``host``.

    Raises:
        BadInputError: ``host`` is every address; then no Host header could be told to be ours.
    """
    from mcp.server.transport_security import TransportSecuritySettings

    if host in _WILDCARDS:
        raise BadInputError(f"--host {host}: name the address that clients will use")
    named = f"[{host}]" if ":" in host else host
    hosts = LOOPBACK if named in LOOPBACK or host.startswith("127.") else (named,)
    names = {*hosts, named}
    security = TransportSecuritySettings(
        allowed_hosts=[f"{name}:*" for name in names],
        allowed_origins=[f"http://{name}:*" for name in names],
    )
    app = server.streamable_http_app(transport_security=security, host=host)
    return _Bearer(app, token)


class _Bearer:
    """Lets requests with the right token through; everything else of HTTP is 401."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        sent = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "http" and hmac.compare_digest(sent, self._expected):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "a bearer token is required", status_code=401, headers={"WWW-Authenticate": "Bearer"}
        )
        await refusal(scope, receive, send)
