"""A bound on what all pages of a browser hold: a page could take everything this machine has.

Neither an address space limit nor Chromium's own switches are one: it reserves far more than it
uses, and what a page holds outside of its script's heap has no limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tools.sandbox.process_tree import descendants, resident_bytes

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.25
_MIB = 1024 * 1024


@asynccontextmanager
async def memory_bound(mark: str, limit_mib: int) -> AsyncGenerator[None]:
    """While entered, ends the largest page's process whenever all together exceed the limit.

    ``mark`` is among the browser's arguments. Without /proc there is no bound, which is logged.
    """
    browser = await asyncio.to_thread(_marked, mark)
    if browser is None:
        _log.warning("the browser's memory is not bounded: this system has no /proc to see it in")
        yield
        return
    watching = asyncio.create_task(_watch(browser, limit_mib * _MIB))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(browser: int, limit_bytes: int) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        await asyncio.to_thread(_hold_to, browser, limit_bytes)


def _hold_to(browser: int, limit_bytes: int) -> None:
    """Ends one process at most: what it held has to be gone before the rest is judged."""
    processes = descendants(browser)
    if resident_bytes(processes, limit_bytes) <= limit_bytes:
        return
    pages = [process for process in processes if b"--type=renderer" in _arguments(process)]
    if not pages:
        return
    largest = max(pages, key=lambda page: resident_bytes([page], limit_bytes))
    _log.warning("the browser's pages exceed %d MiB: the largest is ended", limit_bytes // _MIB)
    with contextlib.suppress(ProcessLookupError):
        os.kill(largest, signal.SIGKILL)


def _marked(mark: str) -> int | None:
    """The browser itself: the processes it starts are not given the switch, or are below it."""
    wanted = mark.encode()
    found = [
        int(place.name)
        for place in Path("/proc").glob("[0-9]*")
        if wanted in _arguments(int(place.name))
    ]
    below = {child for process in found for child in descendants(process)}
    return next((process for process in found if process not in below), None)


def _arguments(process: int) -> list[bytes]:
    """As it was started with; Chromium's own children join theirs by blanks."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b" ", b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
