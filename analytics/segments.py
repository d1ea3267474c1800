"""The reading side of the spool: which segments there are, and the rows in one."""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from pydantic import ValidationError

from analytics.spool import private_directory
from core.settings import first_problem
from core.usage import UsageEvent

ABANDONED_AFTER_SECONDS = 3600.0
MAX_LINE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a row. ``number`` counts from 1; ``content`` is the line as found."""

    number: int
    content: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A row and the line it stands on."""

    number: int
    content: bytes
    event: UsageEvent


@dataclass(frozen=True, slots=True)
class Segment:
    path: Path

    @property
    def segment_id(self) -> str:
        return self.path.stem

    def is_sealed(self) -> bool:
        """Whether nobody can append any more: no process holds the writer's lock."""
        with self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def lines(self) -> Iterator[SegmentRow | BadLine]:
        """Every line, each once, in the order of writing."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _decode(number, line.removesuffix(b"\n"))


def segments(spool: Path) -> tuple[Segment, ...]:
    """All visible segments, sealed or not, by name. Empty where there is no spool yet."""
    return tuple(Segment(p) for p in sorted(spool.glob("[!.]*.jsonl")))


def _decode(number: int, line: bytes) -> SegmentRow | BadLine:
    if len(line) > MAX_LINE_BYTES:
        return BadLine(number, line, f"longer than {MAX_LINE_BYTES} bytes")
    try:
        event = UsageEvent.model_validate_json(line)
    except ValidationError as error:
        return BadLine(number, line, first_problem(error))
    seconds = (event.duration_seconds, event.time_to_first_chunk_seconds or 0.0)
    if not all(math.isfinite(s) for s in seconds):
        return BadLine(number, line, "a duration that is not finite")
    if event.ts.tzinfo is None:
        event = event.model_copy(update={"ts": event.ts.replace(tzinfo=UTC)})
    return SegmentRow(number, line, event)


def quarantine(spool: Path, segment: Segment, bad: list[BadLine]) -> Path:
    """Keeps lines that are not rows, for a person to look at.

    One JSON object per line with ``line``, ``reason`` and ``content``, where a byte that is not
    UTF-8 is a lone surrogate (Python's ``surrogateescape``). Idempotent: the file is replaced.
    """
    directory = private_directory(spool / "quarantine")
    target = directory / f"{segment.segment_id}.jsonl"
    temporary = directory / f".{segment.segment_id}.tmp"
    text = "".join(_described(line) + "\n" for line in bad)
    with temporary.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    return target


def _described(bad: BadLine) -> str:
    content = bad.content.decode("utf-8", "surrogateescape")
    return json.dumps({"line": bad.number, "reason": bad.reason, "content": content})


def remove_abandoned(spool: Path) -> None:
    """Removes what writers killed before their first row left: hidden, empty, old and unlocked."""
    for path in spool.glob(".*.tmp"):
        status = path.stat()
        age_seconds = time.time() - status.st_mtime
        if status.st_size == 0 and age_seconds > ABANDONED_AFTER_SECONDS:
            path.unlink()
