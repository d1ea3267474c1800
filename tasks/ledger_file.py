"""The file in which the processes of one MANUS_HOME keep what they spend in a day.

``budgets/ledger.json`` is read and replaced whole under a lock. Who has calls under way holds a
lock on a file of its own, which the kernel frees with the process: what the dead set aside is
dropped by the next one that looks.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

from pydantic import Field, ValidationError

from core.base import Value
from core.errors import EnvironmentUnusableError

_PAUSE_SECONDS = 0.001
_PATIENCE_SECONDS = 60.0


class Spent(Value):
    """``unpriced_calls`` are those whose cost nobody knows."""

    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            tokens=self.tokens + other.tokens,
            cost_usd=self.cost_usd + other.cost_usd,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )


class HeldCall(Value):
    """What a call under way has set aside, for which scopes, and who is to settle it."""

    holder: str
    scopes: tuple[str, ...]
    spent: Spent


class Book(Value):
    """One day. Scopes are ``day`` and ``tags.NAME``."""

    day: date
    spent: dict[str, Spent] = Field(default_factory=dict)
    held: dict[str, HeldCall] = Field(default_factory=dict)

    def held_for(self, scope: str) -> Spent:
        return sum((h.spent for h in self.held.values() if scope in h.scopes), Spent())


@dataclass(slots=True)
class OpenBook:
    """The book while its lock is held; ``None`` where there is none, or not a whole one.

    What is put here is written when the lock is given back.
    """

    book: Book | None


class LedgerFile:
    """``folder`` is made where it is missing. Close it when no call is under way any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holders = folder / "holders"
        self._lock: int | None = None
        self.holder = f"{os.getpid()}-{uuid4().hex}"

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[OpenBook]:
        """The book, without what dead processes held.

        Raises:
            EnvironmentUnusableError: another process has held the lock for a minute.
        """
        self._holders.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await self._wait_for(file)
            opened = OpenBook(self._read())
            before = opened.book
            yield opened
            if opened.book is not None and opened.book is not before:
                self._write(opened.book)
        finally:
            os.close(file)

    def begin_to_hold(self) -> None:
        """From now on calls may be held under ``holder``. Only while the book is locked."""
        if self._lock is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(self._holders / self.holder, flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Drops what is still held. Idempotent."""
        if self._lock is not None:
            (self._holders / self.holder).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    async def _wait_for(self, file: int) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await _lock(file)
        except TimeoutError as error:
            problem = f"another process has held it for {_PATIENCE_SECONDS:g} s"
            raise EnvironmentUnusableError(f"{self._folder / 'lock'}: {problem}") from error

    def _read(self) -> Book | None:
        try:
            book = Book.model_validate_json((self._folder / "ledger.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        alive = {h for h in {c.holder for c in book.held.values()} if self._is_alive(h)}
        held = {i: c for i, c in book.held.items() if c.holder in alive}
        return book.model_copy(update={"held": held})

    def _is_alive(self, holder: str) -> bool:
        if self._lock is not None and holder == self.holder:
            return True
        path = self._holders / holder
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if not _try_lock(file):
                return True
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(file)

    def _write(self, book: Book) -> None:
        temporary = self._folder / f".ledger.{self.holder}.tmp"
        temporary.write_text(book.model_dump_json(), encoding="utf-8")
        temporary.replace(self._folder / "ledger.json")


async def _lock(file: int) -> None:
    while True:
        if _try_lock(file):
            return
        await asyncio.sleep(_PAUSE_SECONDS)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
