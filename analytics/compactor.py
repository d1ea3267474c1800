"""Moves sealed segments of the spool into ``usage.duckdb``, each row exactly once.

The published file is never written to. A compaction copies it, adds to the copy in one transaction
with the ledger of segments, and renames the copy over it. So whatever a kill leaves behind is a
private copy to be thrown away: what is not published is still in the spool, and what is published
is in the ledger. Segments go only when they have been in the published ledger for a while.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from analytics import schema
from analytics.segments import Segment, quarantine, remove_abandoned, segments
from analytics.spool import private_directory
from core.base import Value

if TYPE_CHECKING:
    import duckdb

GRACE = timedelta(minutes=10)
"""How long an ingested segment stays: longer than any reader takes to look at the spool."""

FILE_FORMAT = "v1.5.0"
"""DuckDB's storage version: that of its 1.5, which other tools still bring along, reads it."""


class Stage(StrEnum):
    """Where a compaction has got to, in this order."""

    LOCKED = "locked"
    COPIED = "copied"
    INGESTED = "ingested"
    COMMITTED = "committed"
    SYNCED = "synced"
    PUBLISHED = "published"
    CLEANED = "cleaned"


class CompactionReport(Value):
    """What one compaction did.

    ``busy`` means that another process is compacting and this one did nothing. ``duplicates`` are
    rows that were there already or stood in the spool twice. ``bad_lines`` are in quarantine.
    """

    busy: bool = False
    published: bool = False
    segments: int = 0
    rows: int = 0
    duplicates: int = 0
    bad_lines: int = 0
    deleted_segments: int = 0


@dataclass(frozen=True, slots=True)
class Places:
    """The files of analytics under MANUS_HOME."""

    home: Path

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def published(self) -> Path:
        return self.home / "usage.duckdb"

    @property
    def private(self) -> Path:
        return self.home / "usage-work"

    @property
    def work(self) -> Path:
        return self.private / "work.duckdb"


@dataclass(frozen=True, slots=True)
class _Counts:
    segments: int = 0
    read: int = 0
    stored: int = 0
    bad_lines: int = 0


def _ignore(stage: Stage) -> None:
    del stage


def compact(
    home: Path, *, grace: timedelta = GRACE, on_stage: Callable[[Stage], None] = _ignore
) -> CompactionReport:
    """Publishes the rows of all sealed segments under ``home``.

    Idempotent, and safe to kill at any point. One at a time per ``home``: does not wait for
    another. ``on_stage`` is called as each stage is reached.

    Raises:
        EnvironmentUnusableError: ``usage.duckdb`` was written by a later version.
        CorruptRecordError: ``usage.duckdb`` is damaged.
        OSError: the disk is full, say; nothing is lost.
    """
    places = Places(home)
    private_directory(places.private)
    private_directory(places.spool)
    with _sole_compactor(places.private / "lock") as sole:
        if not sole:
            return CompactionReport(busy=True)
        on_stage(Stage.LOCKED)
        report = _publish_sealed(places, on_stage)
        deleted = _delete_published(places, grace)
        remove_abandoned(places.spool)
        on_stage(Stage.CLEANED)
        return report.model_copy(update={"deleted_segments": deleted})


@contextmanager
def _sole_compactor(lock: Path) -> Generator[bool]:
    with lock.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _publish_sealed(places: Places, on_stage: Callable[[Stage], None]) -> CompactionReport:
    _discard_work(places)
    known, version = _published_state(places)
    new = [s for s in segments(places.spool) if s.segment_id not in known and s.is_sealed()]
    if not new and version == schema.SCHEMA_VERSION:
        return CompactionReport()
    if places.published.exists():
        shutil.copyfile(places.published, places.work)
    on_stage(Stage.COPIED)
    counts = _ingest(places, new, on_stage)
    _sync(places.work)
    on_stage(Stage.SYNCED)
    places.work.replace(places.published)
    _sync(places.home)
    on_stage(Stage.PUBLISHED)
    return CompactionReport(
        published=True,
        segments=counts.segments,
        rows=counts.stored,
        duplicates=counts.read - counts.stored,
        bad_lines=counts.bad_lines,
    )


def _discard_work(places: Places) -> None:
    """Throws away what a killed compaction left, its write-ahead log and spill files included."""
    for path in places.private.glob("work.duckdb*"):
        path.unlink()
    shutil.rmtree(places.private / "spill", ignore_errors=True)


def _published_state(places: Places) -> tuple[dict[str, datetime], int]:
    """When each segment of the published ledger was ingested, and the published schema version."""
    if not places.published.exists():
        return {}, 0
    with schema.connect(places.private / "spill") as con:
        schema.attach(con, places.published, "READ_ONLY")
        query = "SELECT segment_id, ingested_at AT TIME ZONE 'UTC' FROM ingest_segment"
        rows = con.execute(query).fetchall()
        return {name: at.replace(tzinfo=UTC) for name, at in rows}, schema.read_version(con)


def _ingest(places: Places, new: list[Segment], on_stage: Callable[[Stage], None]) -> _Counts:
    with schema.connect(places.private / "spill") as con:
        schema.attach(con, places.work, f"STORAGE_VERSION '{FILE_FORMAT}'")
        places.work.chmod(0o600)
        con.execute("BEGIN")
        schema.migrate(con)
        counts = _load(con, places.spool, new)
        on_stage(Stage.INGESTED)
        con.execute("COMMIT")
        on_stage(Stage.COMMITTED)
        con.execute("CHECKPOINT usage")
    return counts


def _load(con: duckdb.DuckDBPyConnection, spool: Path, new: list[Segment]) -> _Counts:
    con.execute("CREATE TEMP TABLE batch AS FROM usage_event LIMIT 0")
    read = bad_lines = 0
    for segment in new:
        count, bad = schema.append(con, "batch", segment.lines())
        if bad:
            quarantine(spool, segment, bad)
        size_bytes = segment.path.stat().st_size
        con.execute(
            "INSERT INTO ingest_segment VALUES (?, ?, ?, ?, now())",
            [segment.segment_id, size_bytes, count, len(bad)],
        )
        read += count
        bad_lines += len(bad)
    stored = _merge(con)
    return _Counts(segments=len(new), read=read, stored=stored, bad_lines=bad_lines)


def _merge(con: duckdb.DuckDBPyConnection) -> int:
    """Moves the batch into ``usage_event``, an original in the place of its stored replay."""
    con.execute(f"CREATE TEMP TABLE fresh AS {schema.select_new('batch', 'usage_event')}")
    before = _count(con)
    con.execute("DELETE FROM usage_event WHERE event_id IN (SELECT event_id FROM fresh)")
    con.execute("INSERT INTO usage_event BY NAME SELECT * FROM fresh")
    return _count(con) - before


def _count(con: duckdb.DuckDBPyConnection) -> int:
    row = con.execute("SELECT count(*) FROM usage_event").fetchone()
    return int(row[0]) if row else 0


def _delete_published(places: Places, grace: timedelta) -> int:
    """Deletes the segments that the published ledger has held for ``grace``; returns how many."""
    present = segments(places.spool)
    if not present:
        return 0
    ledger, _ = _published_state(places)
    due = datetime.now(UTC) - grace
    gone = [s for s in present if s.segment_id in ledger and ledger[s.segment_id] <= due]
    for segment in gone:
        segment.path.unlink()
    return len(gone)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
