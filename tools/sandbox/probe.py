"""The self-test by which a backend is chosen: run something for real and try to break out."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from core.errors import SandboxUnavailableError
from tools.sandbox.base import Sandbox, SandboxCommand, SandboxLimits, SandboxOutcome
from tools.workspace import StepDirectory, Workspace

_TIMEOUT_SECONDS = 20.0
_ATTEMPTS = """\
import socket, sys
port, secret, outside = sys.argv[1:]
open("written", "w").close()
def attempt(name, action):
    try:
        action()
    except OSError:
        return
    print("breach:", name)
def connect():
    socket.create_connection(("127.0.0.1", int(port)), 1).close()
attempt("reached the network", connect)
attempt("read a file outside", lambda: open(secret).read())
attempt("wrote outside", lambda: open(outside, "w").close())
print("alive")
"""


async def probe_sandbox(sandbox: Sandbox, *, confined: bool = True) -> None:
    """Runs this interpreter in the sandbox, in a workspace made for the purpose.

    With ``confined`` false only running counts: for a backend that promises nothing else.

    Raises:
        SandboxUnavailableError: it did not run, or it could break out; says which.
    """
    with tempfile.TemporaryDirectory() as place:
        secret, outside = Path(place, "secret"), Path(place, "outside")
        secret.write_text(secrets.token_hex(8), encoding="utf-8")
        directory = Workspace(Path(place, "workspace")).step("probe")
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        try:
            port = server.sockets[0].getsockname()[1]
            outcome = await _attempt(sandbox, directory, str(port), str(secret), str(outside))
        finally:
            server.close()
            await server.wait_closed()
            await sandbox.close()
        _judge(outcome, directory, confined)


async def _attempt(sandbox: Sandbox, directory: StepDirectory, *arguments: str) -> SandboxOutcome:
    return await sandbox.run(
        SandboxCommand(
            argv=(sys.executable, "-I", "-S", "-c", _ATTEMPTS, *arguments),
            directory=directory,
            limits=SandboxLimits(timeout_seconds=_TIMEOUT_SECONDS),
        )
    )


def _judge(outcome: SandboxOutcome, directory: StepDirectory, confined: bool) -> None:
    lines = outcome.stdout.decode(errors="replace").splitlines()
    if "alive" not in lines or not (directory.path / "written").exists():
        reason = outcome.stderr.decode(errors="replace").strip() or outcome.killed
        raise SandboxUnavailableError(f"Python does not run in it: {reason}")
    breaches = [line for line in lines if line.startswith("breach:")]
    if confined and breaches:
        raise SandboxUnavailableError(f"it does not confine: {'; '.join(breaches)}")
