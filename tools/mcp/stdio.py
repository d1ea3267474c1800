"""MCP servers that are child processes: what they are given, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from core.mcp import McpServerSettings

MARK = "MANUS_MCP_SESSION"
_MAX_LOG_BYTES = 1_000_000
_LOG_LOOK_SECONDS = 0.5


def server_directory(home: Path, server: str) -> Path:
    """A server's own directory under MANUS_HOME: its log, and what it sees as its home."""
    clean = re.sub(r"[^a-zA-Z0-9_-]+", "_", server)
    digest = hashlib.sha256(server.encode()).hexdigest()[:8]
    return home / "mcp" / (clean if clean == server else f"{clean}-{digest}")


def server_environment(settings: McpServerSettings, private: Path) -> dict[str, str]:
    """All that a server gets. Nothing of ours but PATH, which ends with this Python's programs.

    It names every variable that the SDK would otherwise inherit.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    given = {
        "PATH": path,
        "HOME": str(private),
        "LANG": "C.UTF-8",
        "LOGNAME": "manus",
        "USER": "manus",
        "SHELL": "/bin/sh",
        "TERM": "dumb",
    }
    return {**given, **settings.env}


@asynccontextmanager
async def stdio_transport(
    server: str, settings: McpServerSettings, home: Path
) -> AsyncGenerator[Any]:
    """The streams of a server started for this session; its whole process tree ends with it."""
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    directory = server_directory(home, server)
    private = directory / "home"
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = secrets.token_hex(16)
    parameters = StdioServerParameters(
        command=settings.command or "",
        args=list(settings.args),
        env={**server_environment(settings, private), MARK: mark},
        cwd=settings.cwd or str(private),
    )
    try:
        with _log(directory / "stderr.log") as log:
            keeping = asyncio.create_task(_keep_short(log))
            try:
                async with stdio_client(parameters, errlog=log) as streams:
                    yield streams
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
    finally:
        _end_marked(mark)


@contextmanager
def _log(path: Path) -> Generator[TextIO]:
    """Open for appending, by us alone: servers write what they were given into their logs."""
    with open(path, "a", encoding="utf-8", opener=partial(os.open, mode=0o600)) as log:
        os.fchmod(log.fileno(), 0o600)
        _shorten(log)
        yield log


async def _keep_short(log: TextIO) -> None:
    """The server writes to the file itself; as it appends, the file can be emptied below it."""
    while True:
        await asyncio.sleep(_LOG_LOOK_SECONDS)
        _shorten(log)


def _shorten(log: TextIO) -> None:
    if os.fstat(log.fileno()).st_size > _MAX_LOG_BYTES:
        os.ftruncate(log.fileno(), 0)
        log.write("(what was here grew too long)\n")
        log.flush()


def _end_marked(mark: str) -> None:
    """Kills what a server left behind, even in sessions of its own, where /proc tells.

    The SDK ends the process group only where the server itself did not end in time.
    """
    wanted = f"{MARK}={mark}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        # Processes end while we look, and those of others are none of our business.
        with contextlib.suppress(OSError):
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)
