"""Files under content-like keys, bounded in size, shared by the processes of a machine."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from uuid import uuid4

from core.base import Value

_KEY = re.compile(r"[0-9a-f]{64}")
_FULL_AFTER_SWEEP = 0.9
_SWEEPS_PER_SIZE = 16
"""The shelf may be larger than allowed by one part in so many before somebody looks."""


class ShelfSize(Value):
    """What is on a shelf."""

    files: int
    size_bytes: int


class FileShelf:
    """Keeps ``<folder>/ab/<key><suffix>``; keys are 64 hex digits. Files are whole or absent, 0600.

    Past ``max_bytes`` the files that were used least recently go; the time of use is the file's
    modification time. Safe between threads and processes. Every method may raise OSError.
    """

    def __init__(self, folder: Path, max_bytes: int, *, suffix: str = "") -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._suffix = suffix
        self._unswept = max_bytes  # the first write looks at what other processes left
        self._lock = threading.Lock()

    def read(self, key: str, *, used: bool = True) -> bytes | None:
        """The content, ``None`` where there is none. ``used`` keeps it from going soon."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            if used:
                os.utime(path)
        except FileNotFoundError:
            return None
        return content

    def write(self, key: str, content: bytes) -> None:
        """Replaces what is there."""
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(file, "wb") as stream:
                stream.write(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if self._is_sweep_due(len(content)):
            self._sweep()

    def has(self, key: str) -> bool:
        return self._path(key).exists()

    def remove(self, key: str) -> None:
        """Idempotent."""
        self._path(key).unlink(missing_ok=True)

    def list_keys(self) -> list[str]:
        """Sorted."""
        names = (p.name.removesuffix(self._suffix) for p in self._folder.glob("??/*"))
        return sorted(name for name in names if _KEY.fullmatch(name))

    def size(self) -> ShelfSize:
        sizes = [size for _, size, _ in self._files()]
        return ShelfSize(files=len(sizes), size_bytes=sum(sizes))

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key")
        return self._folder / key[:2] / f"{key}{self._suffix}"

    def _is_sweep_due(self, written_bytes: int) -> bool:
        with self._lock:
            self._unswept += written_bytes
            due = self._unswept >= self._max_bytes / _SWEEPS_PER_SIZE
            if due:
                self._unswept = 0
            return due

    def _sweep(self) -> None:
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        if left <= self._max_bytes:
            return
        for _, size, path in files:
            if left <= self._max_bytes * _FULL_AFTER_SWEEP:
                break
            path.unlink(missing_ok=True)
            left -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """Last use in nanoseconds, bytes and path; a killed writer's temporary files as well."""
        found: list[tuple[int, int, Path]] = []
        for path in self._folder.glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process was quicker
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        return found
