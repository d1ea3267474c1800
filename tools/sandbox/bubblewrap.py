"""The bubblewrap backend: namespaces for everything, a read-only root, no network.

As root, bubblewrap itself is never run as root (uid 0 in a sandbox may write to /proc/sys): a
private mount namespace is prepared once per workspace and each command enters it as an
unprivileged user.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from core.errors import SandboxUnavailableError
from tools.sandbox.base import Level, LiveProcess, SandboxCommand, SandboxOutcome
from tools.sandbox.layout import ETC_FILES, SYSTEM_DIRECTORIES, base_environment, interpreter_trees
from tools.sandbox.live import opened_launch
from tools.sandbox.mounts import PrivateMounts
from tools.sandbox.probe import probe_sandbox
from tools.sandbox.process import Launch, gate, run_launch
from tools.sandbox.report import RunReport
from tools.sandbox.seccomp import filter_program
from tools.workspace import MOUNT_POINT, SANDBOX_UID, StepDirectory

Place = Callable[[Path], Path]
"""Where bubblewrap finds a directory of this machine."""

_KEPT_NAMESPACES = 16
_MACHINERY = 2
_TEMPORARY_BYTES = 256 * 2**20
_TEMPORARY = ("/tmp", "/dev/shm")
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf")

_HARDENING = (
    *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
    *("--new-session", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"),
)


class BubblewrapSandbox:
    """Runs each command in a fresh bubblewrap; see ``tools.sandbox.base.Sandbox``."""

    level: Level = "bubblewrap"

    def __init__(self) -> None:
        self._namespaces: OrderedDict[tuple[Path, int], PrivateMounts] = OrderedDict()
        self._preparing = asyncio.Lock()

    async def probe(self) -> None:
        if shutil.which("bwrap") is None:
            raise SandboxUnavailableError("bwrap is not installed")
        await probe_sandbox(self)

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        async with self._prepared(command) as (launch, report):
            outcome = await run_launch(launch, command)
            started = outcome.killed is not None or report.command_started()
        if not started:
            reason = outcome.stderr.decode(errors="replace").strip()
            raise SandboxUnavailableError(f"bubblewrap could not start: {reason}")
        return outcome

    @asynccontextmanager
    async def open(self, command: SandboxCommand) -> AsyncGenerator[LiveProcess]:
        async with (
            self._prepared(command) as (launch, _),
            opened_launch(launch, command) as process,
        ):
            yield process

    @asynccontextmanager
    async def _prepared(self, command: SandboxCommand) -> AsyncGenerator[tuple[Launch, RunReport]]:
        mounts = await self._mounts(command.directory.root) if os.geteuid() == 0 else None
        report = RunReport()
        # A run keeps its namespace even when it goes out of use meanwhile.
        namespace = os.dup(mounts.fd) if mounts else None
        try:
            enter = mounts.enter(namespace, SANDBOX_UID) if mounts and namespace is not None else ()
            place: Place = mounts.place if mounts else lambda path: path
            yield _launch(command, place, enter, report), report
        finally:
            report.close()
            if namespace is not None:
                os.close(namespace)

    async def close(self) -> None:
        while self._namespaces:
            self._namespaces.popitem()[1].close()

    async def _mounts(self, root: Path) -> PrivateMounts:
        """The namespace of a workspace, made on its first use; the least recently used goes."""
        key = (root, root.stat().st_ino)  # a directory made anew is another one
        async with self._preparing:
            if key not in self._namespaces:
                self._namespaces[key] = await PrivateMounts.create((*interpreter_trees(), root))
                if len(self._namespaces) > _KEPT_NAMESPACES:
                    self._namespaces.popitem(last=False)[1].close()
            self._namespaces.move_to_end(key)
            return self._namespaces[key]


def _launch(
    command: SandboxCommand, place: Place, enter: tuple[str, ...], report: RunReport
) -> Launch:
    """Options go by descriptor: a command line is public on the machine and bounded in length."""
    user = SANDBOX_UID if enter else os.geteuid()
    accounts = {
        "/etc/passwd": _descriptor(f"sandbox:x:{user}:{user}::/tmp:/bin/sh\n".encode()),
        "/etc/group": _descriptor(f"sandbox:x:{user}:\n".encode()),
    }
    options = [*_options(command, place, report.write_fd), *_accounts(accounts)]
    filters = [_descriptor(program)] if (program := filter_program()) else []
    options += [option for fd in filters for option in ("--seccomp", str(fd))]
    arguments = _descriptor(b"".join(os.fsencode(option) + b"\0" for option in options))
    bubblewrap = ("bwrap", "--args", str(arguments), "--")
    return Launch(
        argv=(*enter, *bubblewrap, *gate(command.limits), *command.argv),
        level="bubblewrap",
        environment={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        child_fds=(report.write_fd, arguments, *accounts.values(), *filters),
        report=report,
        machinery=_MACHINERY,
        memory_directories=_TEMPORARY,
    )


def _options(command: SandboxCommand, place: Place, status_write: int) -> Iterator[str]:
    yield from _HARDENING
    yield from ("--json-status-fd", str(status_write))
    yield from _system()
    if command.limits.network:
        yield "--share-net"
        for file in _NETWORK_FILES:
            yield from ("--ro-bind-try", file, file)
    yield from ("--proc", "/proc", "--dev", "/dev")
    size = min(_TEMPORARY_BYTES, command.limits.memory_bytes // 2)
    for directory in _TEMPORARY:
        yield from ("--perms", "1777", "--size", str(size), "--tmpfs", directory)
    # After /tmp, which may be where they lie.
    for tree in interpreter_trees():
        yield from ("--ro-bind", str(place(tree)), str(tree))
    yield from _workspace(command.directory, place)
    environment = {**base_environment("/tmp", "/tmp"), **command.environment}
    for name, value in environment.items():
        yield from ("--setenv", name, value)


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for directory in map(Path, SYSTEM_DIRECTORIES):
        if directory.is_symlink():
            yield from ("--symlink", str(directory.readlink()), str(directory))
        elif directory.is_dir():
            yield from ("--ro-bind", str(directory), str(directory))
    for file in ETC_FILES:
        yield from ("--ro-bind-try", file, file)


def _workspace(directory: StepDirectory, place: Place) -> Iterator[str]:
    root = place(directory.root)
    for name in directory.readable:
        if (directory.root / name).is_dir():
            yield from ("--ro-bind", str(root / name), f"{MOUNT_POINT}/{name}")
    own = f"{MOUNT_POINT}/{directory.step_id}"
    yield from ("--bind", str(root / directory.step_id), own, "--chdir", own)


def _accounts(descriptors: Mapping[str, int]) -> Iterator[str]:
    for file, fd in descriptors.items():
        yield from ("--perms", "0644", "--ro-bind-data", str(fd), file)
    # What is not a mount of its own lies in memory that no limit counts.
    yield from ("--remount-ro", "/dev", "--remount-ro", "/")


def _descriptor(content: bytes) -> int:
    """An inheritable-by-number descriptor to read ``content`` from."""
    fd = os.memfd_create("bubblewrap")
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
