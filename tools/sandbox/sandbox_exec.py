"""The macOS backend: a generated Seatbelt profile that denies everything not named.

Not exercised on Linux, where only the profile's text is tested; on a Mac the self-test by which a
backend is chosen decides.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from core.errors import SandboxUnavailableError
from tools.sandbox.base import Level, SandboxCommand, SandboxOutcome
from tools.sandbox.exchange import exchange
from tools.sandbox.layout import base_environment, interpreter_trees
from tools.sandbox.plain_process import opened_process
from tools.sandbox.probe import probe_sandbox
from tools.workspace import BOOKKEEPING_PREFIX

_SYSTEM = ("/usr", "/bin", "/sbin", "/System", "/Library", "/opt/homebrew", "/private/etc/ssl")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper")


class SandboxExecSandbox:
    """See ``tools.sandbox.base.Sandbox``."""

    level: Level = "sandbox-exec"

    async def probe(self) -> None:
        if sys.platform != "darwin" or shutil.which("sandbox-exec") is None:
            raise SandboxUnavailableError("sandbox-exec is a program of macOS")
        await probe_sandbox(self)

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        temporary = command.directory.path / BOOKKEEPING_PREFIX / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        argv = ("/usr/bin/sandbox-exec", "-p", profile(command), *command.argv)
        environment = {**base_environment(str(temporary), str(temporary)), **command.environment}
        async with opened_process(argv, command, environment) as process:
            return await exchange(process, command, self.level)

    async def close(self) -> None:
        """Nothing is kept."""


def profile(command: SandboxCommand) -> str:
    """The profile in Seatbelt's language. Paths are real ones: it sees through links."""
    directory = command.directory
    beside = [directory.root / name for name in directory.readable]
    readable = [*map(Path, _SYSTEM), *interpreter_trees(), *beside, directory.path]
    lines = [
        "(version 1)",
        "(deny default)",
        "(allow process-fork)",
        "(allow process-exec)",
        "(allow signal (target same-sandbox))",
        "(allow sysctl-read)",
        "(allow file-read-metadata)",
        *(f"(allow file-read* (subpath {_quoted(path)}))" for path in readable),
        *(f"(allow file-read* (literal {json.dumps(device)}))" for device in _DEVICES),
        '(allow file-write* (literal "/dev/null"))',
        f"(allow file-write* (subpath {_quoted(directory.path)}))",
        "(allow network*)" if command.limits.network else "(deny network*)",
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    return json.dumps(os.path.realpath(path), ensure_ascii=False)
