"""The Docker backend: one container per command, without network, capabilities or a writable root.

The engine must run on this machine: the step's directory is bind-mounted.
"""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from core.base import JsonObject
from core.errors import SandboxUnavailableError
from tools.sandbox.base import Killed, Level, LiveProcess, SandboxCommand, SandboxOutcome
from tools.sandbox.docker_engine import Attachment, DockerEngine
from tools.sandbox.exchange import exchange
from tools.sandbox.layout import argv_elsewhere
from tools.sandbox.probe import probe_sandbox
from tools.sandbox.process import TASKS_PER_PROCESS, uninterrupted
from tools.sandbox.watchdog import Watchdog, WatchedTree
from tools.workspace import MOUNT_POINT, StepDirectory

_TEMPORARY_BYTES = 256 * 2**20
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DockerSandbox:
    """Runs commands in ``image``, which has Python and bash; see ``tools.sandbox.base.Sandbox``."""

    level: Level = "docker"

    def __init__(self, image: str, engine: DockerEngine | None = None) -> None:
        self._image = image
        self._engine = engine or DockerEngine.from_environment()

    async def probe(self) -> None:
        await self._engine.ping()
        await probe_sandbox(self)

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        async with self._started(command) as process:
            return await exchange(process, command, self.level)

    @asynccontextmanager
    async def open(self, command: SandboxCommand) -> AsyncGenerator[LiveProcess]:
        async with self._started(command) as process:
            process.stdin.write(command.stdin)
            yield process

    @asynccontextmanager
    async def _started(self, command: SandboxCommand) -> AsyncGenerator[LiveProcess]:
        container = await self._created(command)
        try:
            async with self._engine.attached(container) as streams:
                process = _Container(self._engine, container, streams, _watchdog(command))
                splitting = asyncio.ensure_future(streams.split(process.stdout, process.stderr))
                try:
                    await self._engine.start(container)
                    yield process
                finally:
                    await uninterrupted(self._engine.remove(container))
                    splitting.cancel()
                    await asyncio.wait({splitting})
        finally:
            await uninterrupted(self._engine.remove(container))

    async def _created(self, command: SandboxCommand) -> str:
        """A cancellation in mid-creation waits for the container to exist, and removes it."""
        creating = asyncio.ensure_future(self._engine.create(_configuration(command, self._image)))
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            await uninterrupted(self._engine.remove(await uninterrupted(_result(creating))))
            raise

    async def close(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class _Container:
    """See ``tools.sandbox.base.LiveProcess``. CPU is throttled by the engine, not counted."""

    engine: DockerEngine
    id: str
    streams: Attachment
    watchdog: Watchdog
    stdout: StreamReader = field(default_factory=StreamReader)
    stderr: StreamReader = field(default_factory=StreamReader)
    codes: list[int] = field(default_factory=list[int])

    @property
    def stdin(self) -> StreamWriter:
        return self.streams.writer

    async def ended(self) -> Killed | None:
        leaving = asyncio.ensure_future(self.engine.wait(self.id))
        watching = asyncio.ensure_future(self.watchdog.watch(None, endless=True))
        try:
            await asyncio.wait({leaving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not leaving.done():
                return watching.result()
            self.codes.append(leaving.result())
            return "memory" if await self.engine.ran_out_of_memory(self.id) else None
        finally:
            for task in (leaving, watching):
                task.cancel()
            await asyncio.wait({leaving, watching})

    async def end(self) -> int:
        await uninterrupted(self.engine.remove(self.id))
        return self.codes[0] if self.codes else 137

    def begin_command(self) -> None:
        """Nothing is counted."""


def _watchdog(command: SandboxCommand) -> Watchdog:
    return Watchdog(command.limits, WatchedTree(command.directory.path), ())


async def _result(creating: asyncio.Future[str]) -> str:
    return await creating


def _configuration(command: SandboxCommand, image: str) -> JsonObject:
    """The body of ``/containers/create``."""
    environment = {"PATH": _PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
    environment |= command.environment
    owner = command.directory.owner
    user = command.directory.path.stat().st_uid if owner is None else owner
    return {
        "Image": image,
        "Cmd": list(argv_elsewhere(command.argv)),
        "Entrypoint": [],
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "WorkingDir": f"{MOUNT_POINT}/{command.directory.step_id}",
        "User": f"{user}:{user}",
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Tty": False,
        "Labels": {"manus-flows": "sandbox"},
        "HostConfig": _host_configuration(command),
    }


def _host_configuration(command: SandboxCommand) -> JsonObject:
    limits = command.limits
    size = min(_TEMPORARY_BYTES, limits.memory_bytes // 2)
    cpus = limits.cpu_seconds / limits.timeout_seconds if limits.cpu_seconds else 0.0
    return {
        "NetworkMode": "bridge" if limits.network else "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "Init": True,
        "PidsLimit": limits.max_processes * TASKS_PER_PROCESS,
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": int(cpus * 1e9),
        "ShmSize": size,
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,size={size},mode=1777"},
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "fsize", "Soft": limits.disk_bytes, "Hard": limits.disk_bytes},
        ],
        "Mounts": _mounts(command.directory),
    }


def _mounts(directory: StepDirectory) -> list[JsonObject]:
    beside = [name for name in directory.readable if (directory.root / name).is_dir()]
    return [
        {
            "Type": "bind",
            "Source": str(directory.root / name),
            "Target": f"{MOUNT_POINT}/{name}",
            "ReadOnly": name != directory.step_id,
        }
        for name in (*beside, directory.step_id)
    ]


def docker_sandbox(image: str) -> DockerSandbox:
    """Raises SandboxUnavailableError for a DOCKER_HOST of a kind that is not spoken here."""
    engine = DockerEngine.from_environment()
    if not engine.host.startswith(("unix://", "tcp://")):
        raise SandboxUnavailableError(
            f"DOCKER_HOST={engine.host}: only unix:// and tcp:// without TLS are spoken here"
        )
    return DockerSandbox(image, engine)
