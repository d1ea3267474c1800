"""Choosing the sandbox by trying it, strongest first."""

from __future__ import annotations

import logging

from core.errors import SandboxUnavailableError
from core.tool_settings import DaytonaSettings, SandboxSettings
from tools.sandbox.base import Sandbox
from tools.sandbox.bubblewrap import BubblewrapSandbox
from tools.sandbox.daytona import DaytonaSandbox
from tools.sandbox.docker import docker_sandbox
from tools.sandbox.rlimits import RlimitsSandbox
from tools.sandbox.sandbox_exec import SandboxExecSandbox
from tools.sandbox.sandlock import SandlockSandbox

_log = logging.getLogger(__name__)

_REMOTE = ("docker", "daytona")
_OTHER_BACKEND = "Mend that, or choose another backend under [sandbox]."
_REMEDY = (
    "Install bubblewrap (Debian: apt-get install bubblewrap) and allow unprivileged user "
    "namespaces, or set allow_unsafe = true under [sandbox] to run code with resource limits only."
)


async def choose_sandbox(
    settings: SandboxSettings, daytona: DaytonaSettings | None = None
) -> Sandbox:
    """The first backend that runs Python and lets it neither out nor onto the network.

    Docker and Daytona are tried only where ``backend`` names them.

    Raises:
        SandboxUnavailableError: says why each backend was rejected, and what to do.
    """
    rejected: list[str] = []
    for sandbox in _candidates(settings, daytona or DaytonaSettings()):
        try:
            await sandbox.probe()
        except SandboxUnavailableError as error:
            rejected.append(f"{sandbox.level}: {error}")
            continue
        if sandbox.level == "rlimits":
            _log.warning("code runs with resource limits only: network and files are open to it")
        return sandbox
    if not settings.allow_unsafe and settings.backend in ("auto", "rlimits"):
        rejected.append("rlimits: confines nothing, and allow_unsafe is not set")
    remedy = _REMEDY if settings.backend not in _REMOTE else _OTHER_BACKEND
    raise SandboxUnavailableError(f"no sandbox works here. {'; '.join(rejected)}. {remedy}")


def _candidates(settings: SandboxSettings, daytona: DaytonaSettings) -> list[Sandbox]:
    if settings.backend == "docker":
        return [docker_sandbox(settings.image)]
    if settings.backend == "daytona":
        return [DaytonaSandbox(daytona)]
    if not settings.use_sandbox:
        if settings.allow_unsafe:
            return [RlimitsSandbox()]
        _log.warning("use_sandbox = false has no effect without allow_unsafe = true")
    safe: list[Sandbox] = [BubblewrapSandbox(), SandlockSandbox(), SandboxExecSandbox()]
    everything = [*safe, RlimitsSandbox()] if settings.allow_unsafe else safe
    return [s for s in everything if settings.backend in ("auto", s.level)]
