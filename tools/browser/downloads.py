"""Files that pages send: into the step's directory, within a bound, under a harmless name."""

from __future__ import annotations

import asyncio
import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ToolFailedError
from tools.step_files import kind_of, write_bytes
from tools.workspace import StepDirectory

if TYPE_CHECKING:
    from playwright.async_api import Download

FOLDER = "downloads"
_LOOK_SECONDS = 0.2
_LONGEST_NAME = 100


class Downloads:
    """Of one session. ``incoming`` is where the browser keeps what is not finished.

    Chromium does not say which file there belongs to which download, so the bound is on all of
    them together: as much as one may have for each that is under way.
    """

    def __init__(self, directory: StepDirectory, incoming: Path | None, limit_bytes: int) -> None:
        self._directory = directory
        self._incoming = incoming
        self._limit_bytes = limit_bytes
        self._saving: set[asyncio.Task[None]] = set()
        self._notes: list[str] = []

    def begin(self, download: Download) -> None:
        """Saves one in the background; how it went is in the notes."""
        task = asyncio.create_task(self._save(download))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    @property
    def under_way(self) -> int:
        return len(self._saving)

    async def settle(self, seconds: float) -> None:
        """Waits a moment for those under way."""
        if self._saving:
            await asyncio.wait(self._saving, timeout=seconds)

    def take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        if self._saving:
            notes.append(f"{len(self._saving)} downloads are under way")
        return notes

    async def close(self) -> None:
        """Gives up what is under way."""
        for task in self._saving:
            task.cancel()
        await asyncio.gather(*self._saving, return_exceptions=True)

    async def _save(self, download: Download) -> None:
        from playwright.async_api import Error

        shown = safe_name(download.suggested_filename)
        try:
            arrived = await self._arrived(download)
            if arrived.stat().st_size > self._limit_bytes:
                raise ToolFailedError(f"larger than {self._limit_bytes} bytes, the most allowed")
            content = await asyncio.to_thread(arrived.read_bytes)
            path = await asyncio.to_thread(self._write, shown, content)
            self._notes.append(f"downloaded {path} ({len(content)} bytes)")
        except (Error, ToolFailedError, OSError) as error:
            reason = str(error).splitlines()[0]
            self._notes.append(f"download of {shown} failed: {reason}")
        finally:
            await _forget(download)

    async def _arrived(self, download: Download) -> Path:
        """Raises ToolFailedError for one that grows beyond the bound; it is cancelled."""
        finished = asyncio.ensure_future(download.path())
        try:
            while not finished.done():
                await asyncio.wait([finished], timeout=_LOOK_SECONDS)
                if not finished.done() and await asyncio.to_thread(self._is_too_much):
                    await download.cancel()
                    raise ToolFailedError(f"more than {self._limit_bytes} bytes, the most allowed")
            return await finished
        finally:
            finished.cancel()
            await asyncio.gather(finished, return_exceptions=True)

    def _is_too_much(self) -> bool:
        if self._incoming is None:
            return False
        sizes = (_size(file) for file in self._incoming.iterdir())
        return sum(sizes) > self._limit_bytes * max(1, len(self._saving))

    def _write(self, name: str, content: bytes) -> str:
        stem, dot, suffix = name.rpartition(".")
        for number in count():
            chosen = (
                name if number == 0 else f"{stem or suffix}-{number}{dot}{suffix if stem else ''}"
            )
            path = f"{FOLDER}/{chosen}"
            if kind_of(self._directory, path) is None:
                write_bytes(self._directory, path, content)
                return path
        raise AssertionError("count() ends")


def safe_name(suggested: str) -> str:
    """A file name without folders, hidden names, or characters a shell or a terminal reads."""
    plain = re.sub(r"[^\w.() -]", "_", suggested.replace("\\", "/").rpartition("/")[2])
    plain = re.sub(r"\.{2,}", "_", plain.strip(". "))
    if len(plain) > _LONGEST_NAME:
        stem, dot, suffix = plain.rpartition(".")
        plain = stem[: _LONGEST_NAME - 12] + dot + suffix[:10]
    return plain or "download"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


async def _forget(download: Download) -> None:
    from playwright.async_api import Error

    try:
        await download.delete()
    except Error:
        return  # the page or the browser went, and the file with it
