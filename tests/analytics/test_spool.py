from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from analytics.segments import BadLine, Segment, SegmentRow, segments
from analytics.spool import SpoolWriter, encode, private_directory, uuid7
from core.ports import UsageSink
from core.usage import UsageEvent
from tests.analytics.processes import finish, start
from tests.analytics.rows import model_call


def ids(home: Path) -> list[str]:
    lines = [line for s in segments(home / "spool") for line in s.lines()]
    return [line.event.event_id for line in lines if isinstance(line, SegmentRow)]


def test_a_row_is_readable_as_soon_as_it_is_emitted(tmp_path: Path) -> None:
    sink: UsageSink = SpoolWriter(tmp_path / "spool")
    event = model_call("e1", tags=("a", "b"), raw_usage={"x": {"y": 1}}, cost_usd="0.00000012")
    sink.emit(event)
    (segment,) = segments(tmp_path / "spool")
    (line,) = segment.lines()
    assert isinstance(line, SegmentRow)
    assert line.event == event


def test_a_segment_is_sealed_exactly_when_its_writer_let_go(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    writer.emit(model_call("e1"))
    (segment,) = segments(tmp_path / "spool")
    assert not segment.is_sealed()
    writer.seal()
    assert segment.is_sealed()
    writer.emit(model_call("e2"))
    assert len(segments(tmp_path / "spool")) == 2
    assert sorted(ids(tmp_path)) == ["e1", "e2"]
    writer.seal()


def test_a_writer_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    writer.seal()
    assert not (tmp_path / "spool").exists()


def test_a_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool", max_bytes=3 * len(encode(model_call("e0"))))
    for number in range(8):
        writer.emit(model_call(f"e{number}"))
    writer.seal()
    assert [sum(1 for _ in s.lines()) for s in segments(tmp_path / "spool")] == [3, 3, 2]
    assert ids(tmp_path) == [f"e{number}" for number in range(8)]


def test_an_old_segment_is_sealed_by_the_next_row(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool", max_seconds=0)
    writer.emit(model_call("e1"))
    writer.emit(model_call("e2"))
    sealed = [s.is_sealed() for s in segments(tmp_path / "spool")]
    assert sorted(sealed) == [False, True]
    writer.seal()


def test_threads_share_a_writer_without_mixing_lines(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool", max_bytes=20_000)

    def emit(name: str) -> None:
        for number in range(100):
            writer.emit(model_call(f"{name}-{number}"))

    threads = [threading.Thread(target=emit, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.seal()
    assert sorted(ids(tmp_path)) == sorted(f"t{n}-{i}" for n in range(4) for i in range(100))


def test_two_processes_write_at_once_into_their_own_segments(tmp_path: Path) -> None:
    processes = [start("write", str(tmp_path), name, "200") for name in ("a", "b")]
    acknowledged = [line.strip() for p in processes for line in finish(p)]
    assert len(acknowledged) == 400
    assert sorted(ids(tmp_path)) == sorted(acknowledged)
    assert len(segments(tmp_path / "spool")) == 2


def test_a_killed_writer_loses_no_acknowledged_row_and_its_segment_is_sealed(
    tmp_path: Path,
) -> None:
    process = start("write", str(tmp_path), "k", "1000000", "20000")
    assert process.stdout
    first = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    acknowledged = {line.strip() for line in [*first, *finish(process)]}
    written = ids(tmp_path)
    assert acknowledged <= set(written)
    assert len(written) == len(set(written))
    assert all(s.is_sealed() for s in segments(tmp_path / "spool"))


def test_a_forked_child_writes_its_own_segment_and_does_not_hold_its_parents(
    tmp_path: Path,
) -> None:
    said = [line.strip() for line in finish(start("fork-and-write", str(tmp_path)))]
    assert said == ["locked", "sealed"]
    contents = [
        [line.event.event_id for line in s.lines() if isinstance(line, SegmentRow)]
        for s in segments(tmp_path / "spool")
    ]
    assert sorted(contents) == [["before", "parent"], ["child"]]


def test_sealing_lets_go_even_while_a_child_on_its_way_to_exec_has_the_descriptor(
    tmp_path: Path,
) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    writer.emit(model_call("e1"))
    (segment,) = segments(tmp_path / "spool")
    with segment.path.open("rb") as file:
        wanted = os.fstat(file.fileno())
        numbers = [int(n) for n in os.listdir("/dev/fd") if int(n) != file.fileno()]
        held = [n for n in numbers if _is_open(n) and os.path.samestat(os.fstat(n), wanted)]
    inherited = os.dup(held[0])
    try:
        writer.seal()
        assert segment.is_sealed()
    finally:
        os.close(inherited)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_torn_last_line_is_told_apart_from_rows(tmp_path: Path) -> None:
    whole = encode(model_call("e1"))
    path = tmp_path / "torn.jsonl"
    path.write_bytes(whole + encode(model_call("e2"))[:100])
    row, torn = Segment(path).lines()
    assert isinstance(row, SegmentRow)
    assert isinstance(torn, BadLine)
    assert (torn.number, torn.content) == (2, encode(model_call("e2"))[:100])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b'{"event_id": "x"}',
        encode(model_call("e", duration_seconds=float("nan"))).strip(),
        encode(model_call("e")).replace(b'"kind"', b'"kind_of"').strip(),
    ],
)
def test_what_is_not_a_row_is_a_bad_line_with_a_reason(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(line + b"\n")
    (bad,) = Segment(path).lines()
    assert isinstance(bad, BadLine)
    assert bad.content == line
    assert bad.reason


def test_text_that_is_not_unicode_does_not_stop_a_row(tmp_path: Path) -> None:
    event = model_call("e1", response_model="a\ud800b", raw_usage={"k": "\udfff"})
    writer = SpoolWriter(tmp_path / "spool")
    writer.emit(event)
    writer.seal()
    (segment,) = segments(tmp_path / "spool")
    (line,) = segment.lines()
    assert isinstance(line, SegmentRow)
    assert line.event.response_model == "a?b"


def test_a_row_that_does_not_fit_on_the_disk_raises_and_the_next_one_is_whole(
    tmp_path: Path,
) -> None:
    """A limit on file size stands in for a full disk: the kernel writes part of the row."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = SpoolWriter(tmp_path / "spool")
    writer.emit(model_call("e1"))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(encode(model_call("e1"))) + 50, limits[1]))
        with pytest.raises(OSError, match="only 50 of"):
            writer.emit(model_call("e2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    writer.emit(model_call("e2"))
    writer.seal()
    assert sorted(ids(tmp_path)) == ["e1", "e2"]


def test_directories_and_segments_are_private(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        writer = SpoolWriter(tmp_path / "home" / "spool")
        writer.emit(model_call("e1"))
        writer.seal()
    finally:
        os.umask(former)
    (segment,) = (tmp_path / "home" / "spool").iterdir()
    assert segment.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home" / "spool").stat().st_mode & 0o777 == 0o700


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    private_directory(tmp_path / "shared" / "spool")
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755


def test_uuid7_is_of_version_7_and_sorts_by_time() -> None:
    made = [uuid7() for _ in range(200)]
    assert {u.version for u in made} == {7}
    assert {u.variant for u in made} == {uuid.RFC_4122}
    times = [u.int >> 64 for u in made]
    assert times == sorted(times)
    assert len(set(made)) == 200


def test_a_line_holds_every_field_of_the_event() -> None:
    assert json.loads(encode(model_call("e"))).keys() == UsageEvent.model_fields.keys()


def test_writing_rows_imports_neither_duckdb_nor_pandas() -> None:
    code = (
        "import sys, analytics.spool, analytics.segments\n"
        "print(*(m for m in ('duckdb', 'pandas', 'prefect') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
