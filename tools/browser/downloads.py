"""Files that pages send: into the step's directory, within a bound, under a harmless name."""

from __future__ import annotations

import asyncio
import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ToolFailedError
from tools.step_files import kind_of, write_bytes
from tools.workspace import StepDirectory

if TYPE_CHECKING:
    from playwright.async_api import Download

FOLDER = "downloads"
_LOOK_SECONDS = 0.2
_LONGEST_NAME = 60
"""File systems take 255 bytes, and a character has up to four."""

MOST_FILES = 100
MOST_AT_ONCE = 20
_TIMES_THE_LIMIT = 10
_MOST_NOTES = 50


class Downloads:
    """Of one session, each at most ``limit_bytes``, all together ten times that.

    ``on_this_machine`` tells that files arrive where they can be looked at while they grow.
    """

    def __init__(
        self, directory: StepDirectory, limit_bytes: int, *, on_this_machine: bool = True
    ) -> None:
        self._directory = directory
        self._on_this_machine = on_this_machine
        self._limit_bytes = limit_bytes
        self._names = asyncio.Lock()
        self._saved = self._saved_bytes = self._refused = 0
        self._saving: set[asyncio.Task[None]] = set()
        self._notes: list[str] = []

    def begin(self, download: Download) -> None:
        """Saves one in the background; how it went is in the notes."""
        is_full = (
            self._saved >= MOST_FILES
            or len(self._saving) >= MOST_AT_ONCE
            or self._saved_bytes >= self._limit_bytes * _TIMES_THE_LIMIT
        )
        task = asyncio.create_task(self._refuse(download) if is_full else self._save(download))
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
        if self._refused:
            notes.append(f"{self._refused} downloads were refused: there are too many for one step")
            self._refused = 0
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
            async with self._names:  # or two of one name would both find it free
                path = await asyncio.to_thread(self._write, shown, content)
            self._saved, self._saved_bytes = self._saved + 1, self._saved_bytes + len(content)
            self._note(f"downloaded {path} ({len(content)} bytes)")
        except (Error, ToolFailedError, OSError) as error:
            reason = str(error).splitlines()[0]
            self._note(f"download of {shown} failed: {reason}")
        finally:
            await _forget(download)

    async def _refuse(self, download: Download) -> None:
        self._refused += 1
        await _cancel(download)
        await _forget(download)

    def _note(self, text: str) -> None:
        """What a page repeats for ever is not kept for ever."""
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(text)

    async def _arrived(self, download: Download) -> Path:
        """Raises ToolFailedError for one that grows beyond the bound; it is cancelled."""
        finished = asyncio.ensure_future(download.path())
        try:
            while not finished.done():
                await asyncio.wait([finished], timeout=_LOOK_SECONDS)
                if not finished.done() and self._is_too_much(download):
                    await _cancel(download)
                    raise ToolFailedError(f"more than {self._limit_bytes} bytes, the most allowed")
            return await finished
        finally:
            finished.cancel()
            await asyncio.gather(finished, return_exceptions=True)

    def _is_too_much(self, download: Download) -> bool:
        if not self._on_this_machine:
            return False
        # Playwright knows the file from the start, and tells it in public only at the end.
        artifact: Any = getattr(getattr(download, "_impl_obj", None), "_artifact", None)
        place = Path(getattr(artifact, "_initializer", {})["absolutePath"])
        growing = place.with_name(f"{place.name}.crdownload")
        return max(_size(place), _size(growing)) > self._limit_bytes

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


async def _cancel(download: Download) -> None:
    from playwright.async_api import Error

    try:
        await download.cancel()
    except Error:
        return  # it is over, one way or another


async def _forget(download: Download) -> None:
    from playwright.async_api import Error

    try:
        await download.delete()
    except Error:
        return  # the page or the browser went, and the file with it
