"""The contract of a sandbox: one command in, one outcome out, nothing left running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.tool_settings import SandboxSettings
from tools.workspace import StepDirectory

Level = Literal["bubblewrap", "sandlock", "rlimits"]
Killed = Literal["timeout", "memory", "disk", "output", "processes"]


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Bounds over the whole process tree of one command.

    ``max_output_bytes`` bounds what is kept of each stream; a command that writes many times more
    is stopped.
    """

    timeout_seconds: float = 120.0
    memory_bytes: int = 1024 * 2**20
    disk_bytes: int = 512 * 2**20
    max_processes: int = 64
    max_output_bytes: int = 256_000

    @classmethod
    def from_settings(cls, settings: SandboxSettings) -> SandboxLimits:
        return cls(
            timeout_seconds=settings.timeout_seconds,
            memory_bytes=settings.memory_mib * 2**20,
            disk_bytes=settings.disk_mib * 2**20,
            max_processes=settings.max_processes,
            max_output_bytes=settings.max_output_bytes,
        )


@dataclass(frozen=True, slots=True)
class SandboxCommand:
    """What to run, in ``directory``. ``environment`` is added to the sandbox's own few variables.

    Of the caller's environment nothing is passed on.
    """

    argv: tuple[str, ...]
    directory: StepDirectory
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    stdin: bytes = b""
    limits: SandboxLimits = field(default_factory=SandboxLimits)


@dataclass(frozen=True, slots=True)
class SandboxOutcome:
    """How a command ended.

    ``exit_code`` is 128 and more for a signal, as in a shell. ``killed`` names the limit that
    ended it.
    ``truncated``: the middle of a stream was dropped.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    duration_seconds: float
    level: Level
    killed: Killed | None = None
    truncated: bool = False


class Sandbox(Protocol):
    """Runs commands of untrusted code. Safe for concurrent use within one event loop."""

    @property
    def level(self) -> Level: ...

    async def probe(self) -> None:
        """Runs something and tries to break out.

        Raises:
            SandboxUnavailableError: says what did not work.
        """
        ...

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        """Runs a command to its end or its first exceeded limit.

        When this returns or raises, CancelledError included, no process of it is alive.

        Raises:
            SandboxUnavailableError: the sandbox itself could not start.
        """
        ...

    async def close(self) -> None:
        """Gives back what is kept between runs; a further ``run`` takes it again."""
        ...
