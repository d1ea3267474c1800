from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import CorruptRecordError, EnvironmentUnusableError
from core.result import FileRef
from tasks.store import RecordStorage, RecordStore, check_records, once, open_store, read_record


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return open_store(RecordStorage(basepath=str(tmp_path / "results")))


def _value() -> FileRef:
    return FileRef(path="a", size_bytes=1, sha256="0")


async def test_a_value_is_computed_once_and_read_from_then_on(
    store: RecordStore, tmp_path: Path
) -> None:
    calls: list[int] = []

    async def compute() -> FileRef:
        calls.append(1)
        return _value()

    assert await once(store, "run/a/t1", compute) == (_value(), False)
    fresh = open_store(RecordStorage(basepath=str(tmp_path / "results")))
    assert await once(fresh, "run/a/t1", compute) == (_value(), True)
    assert calls == [1]


async def test_nothing_is_committed_if_computing_fails(store: RecordStore) -> None:
    async def fail() -> FileRef:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await once(store, "run/a/t1", fail)
    assert await read_record(store, "run/a/t1") is None


async def test_a_torn_record_is_loud_and_not_computed_again(
    store: RecordStore, tmp_path: Path
) -> None:
    async def compute() -> FileRef:
        return _value()

    await once(store, "run/a/t1", compute)
    file = tmp_path / "results/run/a/t1"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(CorruptRecordError, match="run/a/t1"):
        await once(store, "run/a/t1", compute)
    storage = store.result_storage
    assert isinstance(storage, RecordStorage)
    with pytest.raises(CorruptRecordError, match="run/a/t1"):
        check_records(storage, "run")


async def test_a_value_that_cannot_be_saved_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a directory should be", encoding="utf-8")
    store = open_store(RecordStorage(basepath=str(tmp_path / "results")))

    async def compute() -> FileRef:
        return _value()

    with pytest.raises((EnvironmentUnusableError, OSError)):
        await once(store, "run/a/t1", compute)


async def test_temporary_files_are_not_records(store: RecordStore, tmp_path: Path) -> None:
    async def compute() -> FileRef:
        return _value()

    await once(store, "run/a/t1", compute)
    (tmp_path / "results/run/a/.t2.0.tmp").write_bytes(b"half a re")
    storage = store.result_storage
    assert isinstance(storage, RecordStorage)
    assert check_records(storage, "run") == 1
    assert not [f for f in os.listdir(tmp_path / "results/run/a") if f.startswith(".t1")]
