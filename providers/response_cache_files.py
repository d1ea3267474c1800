"""Kept answers in files: one each, shared by the processes of a machine."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from providers.file_shelf import FileShelf
from providers.response_cache_store import CacheEntry, read_entry

_log = logging.getLogger(__name__)
_SHORTEST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.25


class FileCacheStore:
    """Implements ``CacheStore`` below ``folder``, which is made on first use.

    At most ``max_bytes``; what was read least recently goes first. A file that cannot be read or
    written is told in the log and costs a call, nothing else.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._shelf = FileShelf(folder / "responses", max_bytes, suffix=".json")
        self._locks = folder / "locks"

    async def load(self, key: str) -> CacheEntry | None:
        try:
            content = await asyncio.to_thread(self._shelf.read, key)
        except OSError as error:
            _log.warning("response cache: %s", error)
            return None
        if content is None:
            return None
        entry = read_entry(content, key)
        if entry is None:
            _log.warning("response cache: entry %s is damaged; asking again replaces it", key)
        return entry

    async def save(self, entry: CacheEntry) -> None:
        content = entry.model_dump_json().encode()
        try:
            await asyncio.to_thread(self._shelf.write, entry.key, content)
        except OSError as error:
            _log.warning("response cache: an answer could not be kept: %s", error)

    async def delete(self, key: str) -> None:
        """Raises OSError where it is there and stays there."""
        await asyncio.to_thread(self._shelf.remove, key)

    async def entries(self) -> AsyncIterator[CacheEntry]:
        for key in await asyncio.to_thread(self._shelf.list_keys):
            entry = await asyncio.to_thread(self._peek, key)
            if entry is not None:
                yield entry

    def _peek(self, key: str) -> CacheEntry | None:
        """Listing is no use, and must not keep an entry from being the least recently used."""
        content = self._shelf.read(key, used=False)
        return read_entry(content, key) if content is not None else None

    @asynccontextmanager
    async def leading(self, key: str, patience_seconds: float) -> AsyncGenerator[None]:
        """The kernel frees the lock with its holder. Without a file to lock, everyone leads."""
        path = self._locks / key
        lock = None
        try:
            self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
            async with asyncio.timeout(patience_seconds):
                lock = await _locked(path)
        except TimeoutError:
            _log.info("response cache: not waiting any longer for another process to be answered")
        except OSError as error:
            _log.warning("response cache: %s", error)
        try:
            yield
        finally:
            if lock is not None:
                _unlock(lock, path)

    async def close(self) -> None:
        """Nothing is held open."""


async def _locked(path: Path) -> int:
    """An exclusive lock on the file that is now at ``path``: its last holder has removed his."""
    for pause in _pauses():
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            await _close_and_wait(file, pause)
            continue
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise AssertionError("the pauses never end")


def _unlock(lock: int, path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # a lock file that nobody holds is in nobody's way
        _log.warning("response cache: %s", error)
    finally:
        os.close(lock)


async def _close_and_wait(file: int, pause: float) -> None:
    os.close(file)
    await asyncio.sleep(pause)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _pauses() -> Iterator[float]:
    pause = _SHORTEST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
