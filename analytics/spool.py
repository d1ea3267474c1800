"""Where usage rows are first written: one append-only file per process, no lock between processes.

A segment is one row of JSON per line. Its writer holds an exclusive flock for as long as it may
append; a segment that nobody locks is sealed, so the segment of a killed process seals itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import secrets
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from core.usage import UsageEvent

MAX_SEGMENT_BYTES = 4 * 1024 * 1024
MAX_SEGMENT_SECONDS = 10.0


def uuid7() -> UUID:
    """A UUID of RFC 9562 version 7, with a fraction of the millisecond (its method 3).

    So segments of one process sort by age; the remaining 62 bits are random.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    unique = secrets.randbits(62)
    return UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | unique)


def private_directory(path: Path) -> Path:
    """Makes ``path`` and its missing parents, each with mode 0700; existing ones stay as they are.

    Idempotent, and safe when several processes do it at once.
    """
    if not path.is_dir():
        private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def encode(event: UsageEvent) -> bytes:
    """The row as one line. Text that is not valid Unicode (a model may write it) gets ``?``."""
    text = json.dumps(event.model_dump(), default=str, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


@dataclass(slots=True)
class _Segment:
    descriptor: int
    opened_at: float
    size_bytes: int = 0


class SpoolWriter:
    """A ``UsageSink`` that appends to segments in ``directory``.

    Safe from any thread and across ``fork``: a child never writes to its parent's segment. A row
    is with the kernel when ``emit`` returns: it survives the death of the process, not a power cut.
    A segment is rotated by the append that finds it too large or too old, so call ``seal`` when a
    run ends.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = MAX_SEGMENT_BYTES,
        max_seconds: float = MAX_SEGMENT_SECONDS,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._segment: _Segment | None = None
        self._lock = threading.Lock()
        _forget_after_fork(self)

    def emit(self, event: UsageEvent) -> None:
        """Appends the row.

        Raises:
            OSError: the row could not be written whole. Emitting it again is safe.
        """
        line = encode(event)
        with self._lock:
            segment = self._writable_segment()
            written = os.write(segment.descriptor, line)
            segment.size_bytes += written
            if written < len(line):
                self._close()
                raise OSError(f"only {written} of {len(line)} bytes fit into {self._directory}")

    def seal(self) -> None:
        """Closes the segment, so that the compactor may take it. A later ``emit`` opens another."""
        with self._lock:
            self._close()

    def forget(self) -> None:
        """In a forked child: leaves the segment to the parent, whose lock the copy shares."""
        self._lock = threading.Lock()
        if self._segment:
            os.close(self._segment.descriptor)
            self._segment = None

    def _writable_segment(self) -> _Segment:
        segment = self._segment
        if segment and self._is_full(segment):
            self._close()
        if self._segment is None:
            self._segment = _Segment(_create_segment(self._directory), time.monotonic())
        return self._segment

    def _is_full(self, segment: _Segment) -> bool:
        age_seconds = time.monotonic() - segment.opened_at
        return segment.size_bytes >= self._max_bytes or age_seconds >= self._max_seconds

    def _close(self) -> None:
        if self._segment:
            descriptor = self._segment.descriptor
            self._segment = None
            # A child between fork and exec still holds the descriptor: closing would not unlock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _forget_after_fork(writer: SpoolWriter) -> None:
    reference = weakref.ref(writer)

    def forget() -> None:
        alive = reference()
        if alive:
            alive.forget()

    os.register_at_fork(after_in_child=forget)


def _create_segment(directory: Path) -> int:
    """The descriptor of a new, locked segment. Its visible name appears once it is locked."""
    private_directory(directory)
    host = re.sub(r"[^A-Za-z0-9.]", "_", platform.node())[:63] or "host"
    name = f"{host}-{os.getpid()}-{uuid7()}"
    hidden = directory / f".{name}.tmp"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(hidden, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(directory / f"{name}.jsonl")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
