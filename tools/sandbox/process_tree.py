"""A process and everything below it, as /proc tells."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, parents first; those that vanish meanwhile are left out."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{thread}/children").read_bytes()
            children += [int(child) for child in text.split()]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we looked; its children are found again below their new parent
    return children


def resident_bytes(pids: Sequence[int], limit: int) -> int:
    """Memory held by processes together.

    Resident sizes count shared pages once per process, which is cheap to read and too much; only
    when their sum exceeds ``limit`` are the kernel's proportional sizes asked for.
    """
    total = sum(_resident(pid) for pid in pids)
    return sum(_proportional(pid) for pid in pids) if total > limit else total


def _resident(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[1]) * _PAGE_BYTES


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except PermissionError:
        pass  # not ours to look into: the resident size is the bound we have
    return _resident(pid)


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time of processes and of their children that have ended and been waited for."""
    return sum(_cpu_ticks(pid) for pid in pids) / _TICKS_PER_SECOND


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(field) for field in fields[11:15])


def held_bytes(pids: Sequence[int], directories: Sequence[str]) -> int:
    """What in-memory file systems hold, as one of a tree's processes sees them.

    Where none can be asked, the size they were mounted with is the bound. A sandbox that is still
    being set up sees this machine's own directories, which do not count.
    """
    for pid in reversed(pids):
        try:
            return sum(_used_blocks(f"/proc/{pid}/root", directory) for directory in directories)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return 0


def _used_blocks(root: str, directory: str) -> int:
    if Path(directory).exists() and os.stat(root + directory).st_dev == os.stat(directory).st_dev:
        return 0
    status = os.statvfs(root + directory)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


async def end_tree(process: Process) -> None:
    """Kills everything below ``process``, then itself, and returns when all are gone.

    The root goes last and by itself where it can: it is a subreaper or the parent of a namespace's
    init, so nothing below it leaves the tree, whatever it forks or whichever session it starts.
    It is stopped while we look, so that no child appears after it was found to have none.
    """
    while process.returncode is None:
        _signal(process.pid, signal.SIGSTOP)
        if _is_still(process.pid):
            killed = _freeze_and_kill(process.pid)
            _signal(process.pid, signal.SIGCONT if killed else signal.SIGKILL)
        await asyncio.sleep(0.002)
    await process.wait()


def _is_still(pid: int) -> bool:
    """Whether a process has stopped or ended; a signal takes effect a moment after it is sent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in b"TtZX"


def _freeze_and_kill(root: int) -> bool:
    """Stops every descendant before killing any: a frozen fork bomb cannot outrun the walk."""
    frozen: set[int] = set()
    while new := set(descendants(root)) - frozen:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        frozen |= new
    for pid in frozen:
        _signal(pid, signal.SIGKILL)
    return bool(frozen)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, number)
