"""Choosing the sandbox by trying it, strongest first."""

from __future__ import annotations

import logging

from core.errors import SandboxUnavailableError
from core.tool_settings import SandboxSettings
from tools.sandbox.base import Sandbox
from tools.sandbox.bubblewrap import BubblewrapSandbox
from tools.sandbox.rlimits import RlimitsSandbox
from tools.sandbox.sandlock import SandlockSandbox

_log = logging.getLogger(__name__)

_REMEDY = (
    "Install bubblewrap (Debian: apt-get install bubblewrap) and allow unprivileged user "
    "namespaces, or set allow_unsafe = true under [sandbox] to run code with resource limits only."
)


async def choose_sandbox(settings: SandboxSettings) -> Sandbox:
    """The first backend that runs Python and lets it neither out nor onto the network.

    Raises:
        SandboxUnavailableError: says why each backend was rejected, and what to do.
    """
    rejected: list[str] = []
    for sandbox in _candidates(settings):
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
    raise SandboxUnavailableError(f"no sandbox works here. {'; '.join(rejected)}. {_REMEDY}")


def _candidates(settings: SandboxSettings) -> list[Sandbox]:
    safe: list[Sandbox] = [BubblewrapSandbox(), SandlockSandbox()]
    everything = [*safe, RlimitsSandbox()] if settings.allow_unsafe else safe
    return [s for s in everything if settings.backend in ("auto", s.level)]
