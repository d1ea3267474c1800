"""A private mount namespace in which an unprivileged user reaches what it may read.

The interpreter or the workspace may lie below a home directory that only root enters. Root binds
them below a public directory of a mount namespace of its own, where bubblewrap, run as the
sandbox's user, picks them up. The namespace lives as long as the descriptor held here, and so ends
with this process however that dies.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

from core.errors import SandboxUnavailableError

_STAGES = ("/mnt", "/media", "/srv", "/opt", "/run")
_SCRIPT = """\
set -e
stage=$1; shift
mount -t tmpfs -o mode=0755,size=64k,nr_inodes=64,nosuid,nodev tmpfs "$stage"
number=0
for tree; do
    mkdir "$stage/$number"
    mount --bind -- "$tree" "$stage/$number"
    number=$((number + 1))
done
mount -o remount,ro "$stage"
echo ready
read -r finished || true
"""


class PrivateMounts:
    """Trees bound in a mount namespace; ``fd`` is the namespace."""

    def __init__(self, fd: int, stage: Path, trees: Sequence[Path]) -> None:
        self.fd = fd
        self._places = {tree: stage / str(number) for number, tree in enumerate(trees)}

    @classmethod
    async def create(cls, trees: Sequence[Path]) -> PrivateMounts:
        """Needs root.

        Raises:
            SandboxUnavailableError: this process may not mount, as in many containers.
        """
        stage = _stage(trees)
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _SCRIPT, "sh"),
            *(str(stage), *map(str, trees)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        try:
            fd = await _namespace(process)
        finally:
            await process.communicate(b"")
        return cls(fd, stage, trees)

    def place(self, path: Path) -> Path:
        """Where a tree, or something below it, is found inside the namespace."""
        tree = next(t for t in self._places if path.is_relative_to(t))
        return self._places[tree] / path.relative_to(tree)

    def enter(self, fd: int, uid: int) -> tuple[str, ...]:
        """Command prefix that enters by this process's ``fd`` and becomes ``uid`` for good.

        The descriptor is not inherited: it would stay open in the sandbox.
        """
        namespace = f"--mount=/proc/{os.getpid()}/fd/{fd}"
        return ("nsenter", namespace, f"--setuid={uid}", f"--setgid={uid}", "--")

    def close(self) -> None:
        os.close(self.fd)


async def _namespace(process: Process) -> int:
    assert process.stdout
    assert process.stderr
    if await process.stdout.readline() != b"ready\n":
        reason = (await process.stderr.read()).decode(errors="replace").strip()
        raise SandboxUnavailableError(f"cannot mount in a namespace of its own: {reason}")
    return os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _stage(trees: Sequence[Path]) -> Path:
    """A directory that everyone may enter and that hides nothing we need."""
    for stage in map(Path, _STAGES):
        if stage.is_dir() and not any(tree.is_relative_to(stage) for tree in trees):
            return stage
    raise SandboxUnavailableError(f"none of {', '.join(_STAGES)} is free to mount on")
