"""The contract of a sandbox: one command in, one outcome out, nothing left running."""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from core.tool_settings import SandboxSettings
from tools.workspace import StepDirectory

Level = Literal["docker", "daytona", "bubblewrap", "sandlock", "sandbox-exec", "rlimits"]
Killed = Literal["timeout", "cpu", "memory", "disk", "output", "processes"]


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Bounds over the whole process tree of one command.

    ``max_output_bytes`` bounds what is kept of each stream; a command that writes many times more
    is stopped. ``cpu_seconds`` counts the time of all CPUs, of all processes; None is no bound.
    ``network`` opens the network.
    """

    timeout_seconds: float = 120.0
    memory_bytes: int = 1024 * 2**20
    disk_bytes: int = 512 * 2**20
    max_processes: int = 64
    max_output_bytes: int = 256_000
    cpu_seconds: float | None = None
    network: bool = False

    @classmethod
    def from_settings(cls, settings: SandboxSettings) -> SandboxLimits:
        return cls(
            timeout_seconds=settings.timeout_seconds,
            memory_bytes=settings.memory_mib * 2**20,
            disk_bytes=settings.disk_mib * 2**20,
            max_processes=settings.max_processes,
            max_output_bytes=settings.max_output_bytes,
            cpu_seconds=settings.cpu_limit * settings.timeout_seconds or None,
            network=settings.network_enabled,
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


class LiveProcess(Protocol):
    """A process in a sandbox that is talked to. Time and output are the caller's to bound."""

    @property
    def stdin(self) -> StreamWriter: ...

    @property
    def stdout(self) -> StreamReader: ...

    @property
    def stderr(self) -> StreamReader: ...

    async def ended(self) -> Killed | None:
        """Returns when the process is gone or exceeds a limit; then ``end`` is to be called."""
        ...

    async def end(self) -> int:
        """Kills what is left of it and returns the exit code. Idempotent."""
        ...

    def begin_command(self) -> None:
        """CPU time counts from now on."""
        ...


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


@runtime_checkable
class InteractiveSandbox(Protocol):
    """A sandbox that can keep a process open and talk to it."""

    @property
    def level(self) -> Level: ...

    def open(self, command: SandboxCommand) -> AbstractAsyncContextManager[LiveProcess]:
        """Starts a command; after the context no process of it is alive.

        Its memory, processes and files are watched all along; ``timeout_seconds`` and
        ``max_output_bytes`` are not. ``command.stdin`` is written first.

        Raises:
            SandboxUnavailableError: the sandbox itself could not start.
        """
        ...
