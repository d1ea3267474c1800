"""What all runs of a MANUS_HOME spend in a day, under ``[budgets]``.

Each call sets its estimate aside before it starts and settles after it, in a ledger that all
processes share. Usage rows remain the truth: from them the ledger is made on each day's first
call, and where it is missing or damaged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

from core.base import Value
from core.errors import BudgetExceededError
from core.ports import CallEstimate
from core.result import Spend
from core.usage import BudgetSettings
from tasks.budget import BudgetMeter, may_begin
from tasks.ledger_file import Book, HeldCall, LedgerFile, OpenBook, Spent

LOOK_AGAIN_SECONDS = 0.05


class BudgetLine(Value):
    """One limit of ``[budgets]`` today, in USD or tokens; ``set_aside`` is for calls under way."""

    limit: str
    maximum: Decimal
    spent: Decimal
    set_aside: Decimal
    unpriced_calls: int
    resets_at: datetime

    @property
    def left(self) -> Decimal:
        return max(Decimal(0), self.maximum - self.spent - self.set_aside)


class SpendingLedger:
    """Use one per process, within one event loop. ``clock`` gives the time in UTC."""

    def __init__(
        self,
        home: Path,
        budgets: BudgetSettings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._home = home
        self._limits = budgets.limits
        self._zone = ZoneInfo(budgets.timezone)
        self._clock = clock
        self._file = LedgerFile(home / "budgets")

    async def reserve(self, estimate: CallEstimate, tags: Sequence[str]) -> str:
        """Sets a call's estimate aside; what it returns is for ``settle``.

        Waits where only calls under way, of any process, stand in its way.

        Raises:
            BudgetExceededError: names the limit, what is spent and when it begins anew.
        """
        wanted = Spent(tokens=estimate.total_tokens, cost_usd=estimate.cost_usd or Decimal(0))
        scopes = _scopes(tags)
        while True:
            async with self._file.locked() as opened:
                book = await self._today(opened)
                if self._has_room(book, scopes, wanted):
                    self._file.begin_to_hold()
                    name = uuid4().hex
                    call = HeldCall(holder=self._file.holder, scopes=scopes, spent=wanted)
                    opened.book = book.model_copy(update={"held": {**book.held, name: call}})
                    return name
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def settle(self, name: str, spent: Spend, tags: Sequence[str]) -> None:
        """Replaces what was set aside by what the call took (nothing if it failed)."""
        took = Spent(
            tokens=spent.usage.total_tokens,
            cost_usd=spent.cost_usd,
            unpriced_calls=spent.unpriced_calls,
        )
        async with self._file.locked() as opened:
            book = await self._today(opened)
            held = {key: call for key, call in book.held.items() if key != name}
            added = {s: book.spent.get(s, Spent()) + took for s in _scopes(tags)}
            update = {"held": held, "spent": {**book.spent, **added}}
            opened.book = book.model_copy(update=update)

    async def look(self) -> tuple[BudgetLine, ...]:
        """How every limit stands now."""
        async with self._file.locked() as opened:
            book = await self._today(opened)
        return tuple(line for scope in self._limits for line in self._lines(book, scope))

    def close(self) -> None:
        """Idempotent."""
        self._file.close()

    def _has_room(self, book: Book, scopes: Sequence[str], wanted: Spent) -> bool:
        for scope in self._limits.keys() & set(scopes):
            for line in self._lines(book, scope):
                money = line.limit.endswith("_usd")
                asked = wanted.cost_usd if money else Decimal(wanted.tokens)
                room = may_begin(line.maximum, line.spent, line.set_aside, asked)
                if room is False:
                    raise _exceeded(line)
                if room is None:
                    return False
        return True

    def _lines(self, book: Book, scope: str) -> list[BudgetLine]:
        limit, spent = self._limits[scope], book.spent.get(scope, Spent())
        held = book.held_for(scope)
        numbers = (
            ("max_cost_usd", limit.max_cost_usd, spent.cost_usd, held.cost_usd),
            ("max_tokens", limit.max_tokens, Decimal(spent.tokens), Decimal(held.tokens)),
        )
        return [
            BudgetLine(
                limit=f"budgets.{scope}.{name}",
                maximum=Decimal(maximum),
                spent=used,
                set_aside=set_aside,
                unpriced_calls=spent.unpriced_calls,
                resets_at=self._midnight(book.day + timedelta(days=1)),
            )
            for name, maximum, used, set_aside in numbers
            if maximum is not None
        ]

    async def _today(self, opened: OpenBook) -> Book:
        """Today's book. Calls under way since yesterday are settled today, like their rows."""
        day = self._clock().astimezone(self._zone).date()
        book = opened.book
        if book is None or book.day != day:
            spent = await asyncio.to_thread(_spent_since, self._home, self._midnight(day))
            book = Book(day=day, spent=spent, held=book.held if book else {})
            opened.book = book
        return book

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time.min, self._zone)


@dataclass(slots=True)
class Bill:
    """What a call took; nothing until it is said."""

    spent: Spend


@asynccontextmanager
async def set_aside(
    meter: BudgetMeter | None,
    ledger: SpendingLedger | None,
    estimate: CallEstimate,
    tags: Sequence[str] = (),
) -> AsyncGenerator[Bill]:
    """Room for one call under every limit there is; inside, put what it took into the bill.

    Raises:
        BudgetExceededError: the call must not start.
    """
    bill = Bill(Spend())
    held = await meter.reserve(estimate.input_tokens, estimate.cost_usd) if meter else None
    try:
        name = await ledger.reserve(estimate, tags) if ledger else None
        try:
            yield bill
        finally:
            if ledger and name is not None:
                await ledger.settle(name, bill.spent, tags)
    finally:
        if meter and held:
            meter.settle(held, bill.spent)


def _scopes(tags: Sequence[str]) -> tuple[str, ...]:
    return ("day", *(f"tags.{tag}" for tag in dict.fromkeys(tags)))


def _spent_since(home: Path, since: datetime) -> dict[str, Spent]:
    """By the usage rows, those that are still in the spool included."""
    from analytics.figures import Dimension, Window
    from analytics.queries import spend_by
    from analytics.reader import open_usage

    with open_usage(home) as usage:
        window = Window(since=since)
        groups = [*spend_by(usage, (), window), *spend_by(usage, (Dimension.TAG,), window)]
    found: dict[str, Spent] = {}
    for group in groups:
        tag = group.keys.get(Dimension.TAG)
        if group.keys and tag is None:
            continue
        spend = group.spend
        found["day" if tag is None else f"tags.{tag}"] = Spent(
            tokens=spend.input_tokens + spend.output_tokens,
            cost_usd=spend.cost_usd,
            unpriced_calls=spend.unpriced_calls,
        )
    return found


def _exceeded(line: BudgetLine) -> BudgetExceededError:
    unit = "USD" if line.limit.endswith("_usd") else "tokens"
    resets = line.resets_at.isoformat(timespec="minutes")
    return BudgetExceededError(
        f"budget: {line.limit} = {line.maximum} is reached: {line.spent} {unit} spent today; "
        f"it begins anew at {resets}",
        limit=line.limit,
        spent=line.spent,
        resets_at=line.resets_at,
    )
