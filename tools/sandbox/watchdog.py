"""Watches a running command's process tree: time, memory, number of processes, disk, output."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from tools.confined import opened_beneath, opened_directory
from tools.sandbox.base import Killed, SandboxLimits
from tools.sandbox.output import CappedOutput
from tools.sandbox.process_tree import descendants, resident_bytes

POLL_SECONDS = 0.05
_DISK_SHARE = 0.05
_BYTES_PER_ENTRY = 4096
_MAX_DEPTH = 64


class Watchdog:
    """One command's bounds. ``machinery`` counts the sandbox's own processes in the tree."""

    def __init__(
        self,
        limits: SandboxLimits,
        directory: Path,
        outputs: Sequence[CappedOutput],
        machinery: int,
    ) -> None:
        self._limits = limits
        self._directory = directory
        self._outputs = outputs
        self._machinery = machinery
        self._next_disk_check = 0.0

    async def watch(self, pid: int) -> Killed:
        """Returns the first limit that the tree below ``pid`` exceeds."""
        deadline = time.monotonic() + self._limits.timeout_seconds
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return "timeout"
            await asyncio.sleep(min(POLL_SECONDS, remaining))
            if exceeded := self._exceeded(pid) or await self._disk_exceeded():
                return exceeded

    def _exceeded(self, pid: int) -> Killed | None:
        if any(output.overflowing for output in self._outputs):
            return "output"
        tree = descendants(pid)
        if len(tree) > self._limits.max_processes + self._machinery:
            return "processes"
        if resident_bytes(tree, self._limits.memory_bytes) > self._limits.memory_bytes:
            return "memory"
        return None

    async def _disk_exceeded(self) -> Killed | None:
        """Large trees are measured less often: the walk may cost a twentieth of the time."""
        now = time.monotonic()
        if now < self._next_disk_check:
            return None
        used = await asyncio.to_thread(used_bytes, self._directory, self._limits.disk_bytes)
        finished = time.monotonic()
        self._next_disk_check = finished + (finished - now) / _DISK_SHARE
        return "disk" if used > self._limits.disk_bytes else None


def used_bytes(directory: Path, enough: int) -> int:
    """Disk blocks of a tree plus a page per entry, as empty files use up a disk as well.

    Counting stops above ``enough``. Directories are entered by descriptor, so that a tree that
    changes meanwhile cannot lead outside.
    """
    with opened_directory(directory) as top:
        return _used(top, enough, 0)


def _used(directory: int, enough: int, depth: int) -> int:
    if depth > _MAX_DEPTH:
        return enough + 1
    used = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            used += _entry_bytes(directory, entry, enough - used, depth)
            if used > enough:
                break
    return used


def _entry_bytes(directory: int, entry: os.DirEntry[str], enough: int, depth: int) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
        used = max(status.st_blocks * 512, _BYTES_PER_ENTRY)
        if stat.S_ISDIR(status.st_mode):
            with opened_beneath(directory, entry.name, os.O_RDONLY | os.O_DIRECTORY) as below:
                used += _used(below, enough - used, depth + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return _BYTES_PER_ENTRY  # removed, replaced or closed while we looked
    return used
