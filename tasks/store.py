"""Committed records: what a run finished and paid for, in files that are whole or absent.

Prefect reads and writes results through a ``ResultStore``. Two of its habits cost money here, so
this one differs: a record that cannot be read raises instead of counting as absent (the call would
be paid again), and a record that cannot be written is remembered, because Prefect's transactions
log a failed commit and go on.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from prefect.context import FlowRunContext
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.serializers import JSONSerializer
from prefect.transactions import BaseTransaction, CommitMode, TransactionState, atransaction
from pydantic import PrivateAttr

from core.errors import CorruptRecordError, EnvironmentUnusableError

T = TypeVar("T")

NOWHERE = Path(os.devnull)
"""For flows, which keep no result of their own. Without any storage, Prefect asks the server for
its default before each run, and leaks that connection."""


class RecordStorage(LocalFileSystem):
    """Prefect's local file system, with every file written to a temporary name, synced, renamed."""

    _block_type_name = "Manus record storage"
    _failures: list[BaseException] = PrivateAttr(default_factory=list[BaseException])

    def _resolve_path(self, path: str) -> Path:
        """Like Prefect's, without its walk over the file system for each use.

        Raises:
            ValueError: the path leaves the base path.
        """
        assert self.basepath is not None
        resolved = os.path.normpath(os.path.join(self.basepath, path))
        if resolved != self.basepath and not resolved.startswith(self.basepath + os.sep):
            raise ValueError(f"{path} is outside of {self.basepath}")
        return Path(resolved)

    async def aread_path(self, path: str) -> bytes:
        return self._resolve_path(path).read_bytes()

    async def awrite_path(self, path: str, content: bytes) -> str:
        target = self._resolve_path(path)
        try:
            await asyncio.to_thread(self.write_whole, target, content)
        except Exception as error:
            self._failures.append(error)  # a transaction logs it and goes on; we may not
            raise
        return str(target)

    def write_whole(self, target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def files(self, prefix: str) -> list[Path]:
        """The records under ``prefix``, sorted."""
        directory = self._resolve_path(prefix)
        return [p for p in sorted(directory.rglob("*")) if p.is_file() and p.suffix != ".tmp"]

    def raise_if_failed(self) -> None:
        """Raises EnvironmentUnusableError if a record could not be written, for then all stops."""
        if self._failures:
            raise EnvironmentUnusableError(
                f"a finished result could not be saved ({self._failures[0]}); "
                f"make room or fix the rights of {self.basepath}, then resume"
            ) from self._failures[0]


class RecordStore(ResultStore):
    """A store that tells an absent record from an unreadable one, and keeps no exceptions."""

    async def aexists(self, key: str) -> bool:
        assert isinstance(self.result_storage, RecordStorage)
        try:
            content = await self.result_storage.aread_path(key)
        except FileNotFoundError:
            return False
        check_record(content, key)
        return True

    async def apersist_result_record(self, result_record: Any, holder: str | None = None) -> None:
        """Prefect writes what each failed task run raised, under a random key that nobody reads."""
        if not isinstance(result_record.result, BaseException):
            await super().apersist_result_record(result_record, holder)


def check_record(content: bytes, key: str) -> None:
    """Raises CorruptRecordError, naming the record, unless ``content`` is one whole record."""
    try:
        record = json.loads(content)
        whole = isinstance(record["metadata"], dict) and "result" in record
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise CorruptRecordError(
            f"record '{key}' is damaged; delete that file to have the work done, and paid, again"
        )


def open_store(storage: RecordStorage) -> RecordStore:
    return RecordStore(
        result_storage=storage, serializer=JSONSerializer(), cache_result_in_memory=False
    )


@contextmanager
def results_in(store: RecordStore) -> Generator[None]:
    """Inside a flow: every task below keeps its results in ``store``."""
    context = FlowRunContext.get()
    assert context is not None, "results_in is for the inside of a flow"
    with context.model_copy(update={"result_store": store}):
        yield


@contextmanager
def detached() -> Generator[None]:
    """What runs inside is no part of the transaction around it.

    Prefect commits a nested result only with its parent, and rolls the parent back with a failed
    child: a step would lose its finished calls, or its own commit to one failed tool.
    """
    token = BaseTransaction.__var__.set(None)  # type: ignore[arg-type]  # what get_active() defaults to
    try:
        yield
    finally:
        BaseTransaction.__var__.reset(token)


async def once(store: RecordStore, key: str, compute: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
    """The committed value under ``key``, computed and committed first where there is none.

    Returns the value and whether it was there already. Nothing is committed if ``compute`` raises.

    Raises:
        CorruptRecordError: the record cannot be read.
        EnvironmentUnusableError: the value could not be saved.
    """
    with detached():
        async with atransaction(key=key, store=store, commit_mode=CommitMode.EAGER) as transaction:
            if transaction.is_committed():
                record = await transaction.read()
                assert record is not None
                return record.result, True
            value = await compute()
            transaction.stage(value)
    if transaction.state is not TransactionState.COMMITTED:
        raise_if_unsaved(store)
        raise EnvironmentUnusableError(f"the result under '{key}' could not be saved")
    return value, False


async def read_record(store: RecordStore, key: str) -> Any | None:
    """The committed value under ``key``, or None. Raises CorruptRecordError."""
    if not await store.aexists(key):
        return None
    record = await store.aread(key)
    return record.result


def raise_if_unsaved(store: RecordStore) -> None:
    """Raises EnvironmentUnusableError if any record could not be written: then all must stop."""
    assert isinstance(store.result_storage, RecordStorage)
    store.result_storage.raise_if_failed()


def values_under(storage: RecordStorage, prefix: str) -> Iterator[Any]:
    """Every committed value under ``prefix``."""
    serializer = JSONSerializer()
    for file in storage.files(prefix):
        record = json.loads(file.read_bytes())
        yield serializer.loads(record["result"].encode())


def check_records(storage: RecordStorage, prefix: str) -> int:
    """Reads every record under ``prefix`` and returns how many there are.

    Raises:
        CorruptRecordError: names the first that is damaged.
    """
    files = storage.files(prefix)
    for file in files:
        check_record(file.read_bytes(), str(file))
    return len(files)
