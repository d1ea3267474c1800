"""Watches a running command's process tree: time, memory, number of processes, disk, output."""

from __future__ import annotations

import asyncio
import math
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.confined import opened_beneath, opened_directory
from tools.sandbox.base import Killed, SandboxLimits
from tools.sandbox.output import CappedOutput
from tools.sandbox.process_tree import cpu_seconds, descendants, held_bytes, resident_bytes

POLL_SECONDS = 0.05
_DISK_SHARE = 0.05
_MAX_DISK_PAUSE_SECONDS = 1.0
_BYTES_PER_ENTRY = 4096
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class WatchedTree:
    """What belongs to a command. ``machinery`` counts the sandbox's own processes in the tree.

    ``memory_directories`` are file systems held in memory, as the command sees them.
    """

    directory: Path
    machinery: int = 0
    memory_directories: tuple[str, ...] = ()


class Watchdog:
    """Holds a process tree, or without a process a directory, to its bounds."""

    def __init__(
        self, limits: SandboxLimits, tree: WatchedTree, outputs: Sequence[CappedOutput]
    ) -> None:
        self._limits = limits
        self._tree = tree
        self._outputs = outputs
        self._next_disk_check = 0.0
        self._cpu_before = 0.0

    async def watch(self, pid: int | None, *, endless: bool = False) -> Killed:
        """Returns the first limit that the tree below ``pid`` exceeds."""
        bound = math.inf if endless else self._limits.timeout_seconds
        deadline = time.monotonic() + bound
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return "timeout"
            await asyncio.sleep(min(POLL_SECONDS, remaining))
            if exceeded := self._exceeded(pid) or await self._disk_exceeded():
                return exceeded

    def forgive_cpu_time(self, pid: int) -> None:
        """Counts CPU time from now on, as a shell's next command begins."""
        self._cpu_before = cpu_seconds([pid, *descendants(pid)])

    def _exceeded(self, pid: int | None) -> Killed | None:
        if any(output.overflowing for output in self._outputs):
            return "output"
        if pid is None:
            return None
        tree = descendants(pid)
        if len(tree) > self._limits.max_processes + self._tree.machinery:
            return "processes"
        room = self._limits.memory_bytes - held_bytes(tree, self._tree.memory_directories)
        if room < 0 or resident_bytes(tree, room) > room:
            return "memory"
        return "cpu" if self._cpu_exceeded([pid, *tree]) else None

    def _cpu_exceeded(self, tree: Sequence[int]) -> bool:
        bound = self._limits.cpu_seconds
        return bound is not None and cpu_seconds(tree) - self._cpu_before > bound

    async def _disk_exceeded(self) -> Killed | None:
        """Large trees are measured less often: the walk may cost a twentieth of the time."""
        now = time.monotonic()
        if now < self._next_disk_check:
            return None
        exceeded = await self.too_much_on_disk()
        finished = time.monotonic()
        pause = min((finished - now) / _DISK_SHARE, _MAX_DISK_PAUSE_SECONDS)
        self._next_disk_check = finished + pause
        return exceeded

    async def too_much_on_disk(self) -> Killed | None:
        """Also to be asked at the end: a quick command writes a lot between two looks."""
        used = await asyncio.to_thread(used_bytes, self._tree.directory, self._limits.disk_bytes)
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
