from __future__ import annotations

import json
import os
import random
import signal
import struct
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.compactor import CompactionReport, Stage, compact
from analytics.queries import totals
from analytics.reader import open_usage
from analytics.segments import segments
from analytics.spool import SpoolWriter, encode
from core.errors import CorruptRecordError
from tests.analytics.processes import finish, start
from tests.analytics.rows import model_call, spool

NO_GRACE = timedelta(0)


def published_ids(home: Path) -> list[str]:
    with duckdb.connect(home / "usage.duckdb", read_only=True) as con:
        rows = con.execute("SELECT event_id FROM usage_event ORDER BY event_id").fetchall()
    return [row[0] for row in rows]


def visible_ids(home: Path) -> list[str]:
    with open_usage(home) as usage:
        query = "SELECT event_id FROM usage_fact ORDER BY event_id"
        return [row[0] for row in usage.rows(query, {})]


def test_sealed_rows_are_published_once(tmp_path: Path) -> None:
    spool(tmp_path, [model_call(f"e{n}") for n in range(5)])
    assert compact(tmp_path) == CompactionReport(published=True, segments=1, rows=5)
    assert compact(tmp_path) == CompactionReport()
    assert published_ids(tmp_path) == [f"e{n}" for n in range(5)]


def test_an_empty_home_gets_an_empty_database(tmp_path: Path) -> None:
    report = compact(tmp_path / "fresh")
    assert report == CompactionReport(published=True)
    assert published_ids(tmp_path / "fresh") == []


def test_a_live_segment_is_left_alone_until_it_is_sealed(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    writer.emit(model_call("e1"))
    assert compact(tmp_path).rows == 0
    writer.seal()
    assert compact(tmp_path).rows == 1


def test_an_event_emitted_again_is_one_row(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1"), model_call("e1"), model_call("e2")])
    assert compact(tmp_path).duplicates == 1
    spool(tmp_path, [model_call("e2"), model_call("e3")])
    report = compact(tmp_path)
    assert (report.rows, report.duplicates) == (1, 1)
    assert published_ids(tmp_path) == ["e1", "e2", "e3"]


@pytest.mark.parametrize("order", ["original first", "replay first", "together"])
def test_the_original_is_preferred_to_its_replay(tmp_path: Path, order: str) -> None:
    original = model_call("e1", duration_seconds=3.0)
    replay = model_call("e1", replayed=True)
    batches = {
        "original first": [[original], [replay]],
        "replay first": [[replay], [original]],
        "together": [[replay, original, replay]],
    }
    for batch in batches[order]:
        spool(tmp_path, batch)
        compact(tmp_path)
    with duckdb.connect(tmp_path / "usage.duckdb", read_only=True) as con:
        rows = con.execute("SELECT replayed, duration_seconds FROM usage_event").fetchall()
    assert rows == [(False, 3.0)]


def test_lines_that_are_not_rows_are_counted_and_kept(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1")])
    (segment,) = segments(tmp_path / "spool")
    torn = encode(model_call("e2"))[:80]
    too_large = encode(model_call("e3", input_tokens=10**30))
    segment.path.write_bytes(b"\xff garbage\n" + encode(model_call("e1")) + too_large + torn)
    report = compact(tmp_path)
    assert (report.rows, report.bad_lines) == (1, 3)
    kept = tmp_path / "spool" / "quarantine" / segment.path.name
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    contents = [line["content"].encode("utf-8", "surrogateescape") for line in lines]
    assert sorted(contents) == sorted([b"\xff garbage", too_large.strip(), torn])
    assert {line["line"] for line in lines} == {1, 3, 4}
    assert all(line["reason"] for line in lines)
    with duckdb.connect(tmp_path / "usage.duckdb", read_only=True) as con:
        ledger = con.execute("SELECT row_count, bad_line_count FROM ingest_segment").fetchall()
    assert ledger == [(1, 3)]


def test_a_segment_is_deleted_only_after_its_grace(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1")])
    assert compact(tmp_path).deleted_segments == 0
    assert len(segments(tmp_path / "spool")) == 1
    assert compact(tmp_path, grace=NO_GRACE) == CompactionReport(deleted_segments=1)
    assert segments(tmp_path / "spool") == ()
    assert visible_ids(tmp_path) == ["e1"]


def test_a_second_compactor_at_the_same_time_does_nothing(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1")])
    reports: list[CompactionReport] = []

    def compact_inside(stage: Stage) -> None:
        if stage is Stage.COMMITTED:
            reports.append(compact(tmp_path))

    assert compact(tmp_path, on_stage=compact_inside).rows == 1
    assert reports == [CompactionReport(busy=True)]


def test_an_error_in_a_compaction_loses_nothing(tmp_path: Path) -> None:
    def fail(stage: Stage) -> None:
        if stage is Stage.INGESTED:
            raise OSError("no space left")

    spool(tmp_path, [model_call("e1")])
    with pytest.raises(OSError, match="no space left"):
        compact(tmp_path, on_stage=fail)
    assert visible_ids(tmp_path) == ["e1"]
    assert compact(tmp_path).rows == 1


def test_damage_inside_the_database_is_reported_by_the_query_that_meets_it(tmp_path: Path) -> None:
    spool(tmp_path, [model_call(f"e{n}") for n in range(3000)])
    compact(tmp_path)
    path = tmp_path / "usage.duckdb"
    content = path.read_bytes()
    path.write_bytes(content[:12288] + bytes(b ^ 0xFF for b in content[12288:]))
    with pytest.raises(CorruptRecordError, match=r"usage\.duckdb"):
        visible_ids(tmp_path)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_compactor_killed_at_any_stage_neither_loses_nor_doubles_a_row(
    tmp_path: Path, stage: Stage
) -> None:
    spool(tmp_path, [model_call("old")])
    compact(tmp_path)
    spool(tmp_path, [model_call("e1"), model_call("e2")])
    process = start("compact-and-die", str(tmp_path), stage)
    finish(process)
    assert process.returncode == -signal.SIGKILL
    assert visible_ids(tmp_path) == ["e1", "e2", "old"]
    expected = 0 if stage in (Stage.PUBLISHED, Stage.CLEANED) else 2
    assert compact(tmp_path, grace=NO_GRACE).rows == expected
    assert published_ids(tmp_path) == ["e1", "e2", "old"]
    assert segments(tmp_path / "spool") == ()
    assert [p.name for p in (tmp_path / "usage-work").iterdir()] == ["lock"]


def test_writers_and_compactors_killed_at_random_lose_and_double_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 10**6))
    print(f"TEST_SEED={seed}")
    moment = random.Random(seed)
    acknowledged: list[str] = []
    for attempt in range(6):
        writer = start("write", str(tmp_path), f"w{attempt}", "1000000", "100000")
        compactor = start("compact-until-killed", str(tmp_path))
        assert writer.stdout
        assert compactor.stdout
        compactor.stdout.readline()
        acknowledged.append(writer.stdout.readline())
        time.sleep(moment.uniform(0, 0.4))
        for process in moment.sample([writer, compactor], k=2):
            process.send_signal(signal.SIGKILL)
            time.sleep(moment.uniform(0, 0.05))
        acknowledged += finish(writer)
        finish(compactor)
    assert len(acknowledged) > 100
    while compact(tmp_path, grace=NO_GRACE).published:
        pass
    times = Counter(published_ids(tmp_path))
    assert max(times.values()) == 1
    assert {line.strip() for line in acknowledged} <= times.keys()
    assert segments(tmp_path / "spool") == ()


def test_readers_see_every_acknowledged_row_once_while_rows_are_written_and_compacted(
    tmp_path: Path,
) -> None:
    writer = start("write", str(tmp_path), "w", "1000000", "50000")
    compactor = start("compact-until-killed", str(tmp_path))
    try:
        assert writer.stdout
        assert compactor.stdout
        compactor.stdout.readline()
        seen = 0
        for _ in range(10):
            acknowledged = [writer.stdout.readline().strip() for _ in range(50)]
            ids = visible_ids(tmp_path)
            assert len(ids) == len(set(ids))
            assert set(acknowledged) <= set(ids)
            assert len(ids) >= seen
            seen = len(ids)
    finally:
        for process in (writer, compactor):
            process.kill()
            finish(process)


Action = tuple[Literal["emit", "replay", "seal", "compact", "compact and delete"], int]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["emit", "replay", "emit", "seal", "compact", "compact and delete"]),
        st.integers(0, 5),
    ),
    max_size=10,
)


@settings(max_examples=15, deadline=None)
@given(actions=ACTIONS)
def test_any_order_of_emitting_replaying_and_compacting_gives_each_event_once(
    actions: list[Action],
) -> None:
    originals: dict[str, bool] = {}
    with TemporaryDirectory() as directory:
        home = Path(directory)
        writer = SpoolWriter(home / "spool")
        for action, number in actions:
            if action in ("emit", "replay"):
                replayed = action == "replay"
                writer.emit(model_call(f"e{number}", replayed=replayed, input_tokens=1))
                originals[f"e{number}"] = originals.get(f"e{number}", False) or not replayed
            elif action == "seal":
                writer.seal()
            else:
                compact(home, grace=NO_GRACE if action == "compact and delete" else timedelta(1))
        with open_usage(home) as usage:
            rows = usage.rows("SELECT event_id, NOT replayed FROM usage_fact", {})
            assert sorted(rows) == sorted(originals.items())
            assert totals(usage).input_tokens == len(originals)
        writer.seal()


def test_a_damaged_database_is_reported_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "usage.duckdb").write_bytes(b"not a database" * 1000)
    spool(tmp_path, [model_call("e1")])
    with pytest.raises(CorruptRecordError, match=r"usage\.duckdb"):
        compact(tmp_path)
    with pytest.raises(CorruptRecordError), open_usage(tmp_path):
        pass
    assert len(segments(tmp_path / "spool")) == 1


def test_what_a_writer_killed_at_its_start_left_is_removed_when_old(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1")])
    old, new = tmp_path / "spool" / ".old.tmp", tmp_path / "spool" / ".new.tmp"
    old.touch()
    new.touch()
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    compact(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_the_published_file_is_private_whole_and_of_a_portable_format(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1")])
    compact(tmp_path)
    path = tmp_path / "usage.duckdb"
    magic, storage_version = struct.unpack_from("<4sQ", path.read_bytes(), 8)
    assert (magic, storage_version) == (b"DUCK", 68)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "usage.duckdb.wal").exists()
