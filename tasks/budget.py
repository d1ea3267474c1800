"""The limits of a run: checked before each model call, settled after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from core.completion import Completion
from core.embedding import Embeddings
from core.errors import BudgetExceededError
from core.result import Spend
from core.usage import Budget


@dataclass(frozen=True, slots=True)
class Held:
    """What a call under way has set aside."""

    tokens: int
    cost_usd: Decimal | None


def spend_of(answer: Completion | Embeddings) -> Spend:
    """What a call took: nothing, where the response cache answered."""
    if isinstance(answer, Completion) and answer.cache_hit:
        return Spend()
    return Spend(
        model_calls=1,
        usage=answer.usage,
        cost_usd=answer.cost_usd or Decimal(0),
        unpriced_calls=int(answer.cost_usd is None),
    )


def may_begin(limit: Decimal, spent: Decimal, held: Decimal, wanted: Decimal) -> bool | None:
    """Whether a call may begin; ``None`` while that hangs on what those under way will take.

    A call that is alone may begin while anything is left, so that a limit is passed by no more than
    one call's estimate.
    """
    if spent >= limit:
        return False
    if spent + held + wanted <= limit or not held:
        return True
    return None


class BudgetMeter:
    """Adds up what a run spends, replayed calls included: they were paid, once, by this run.

    A call under way counts with what it set aside, so that parallel steps do not pass a limit
    together: tokens as estimated, money at the deployment's price, where that is unknown at the
    highest price per token that this run has paid so far. ``wall_before`` are the seconds that
    earlier processes worked on the run.
    """

    def __init__(
        self,
        budget: Budget,
        now: Callable[[], float] = time.monotonic,
        *,
        wall_before: float = 0.0,
    ) -> None:
        self._budget = budget
        self._now = now
        self._began = now() - wall_before
        self._under_way: list[Held] = []
        self._settled = asyncio.Event()
        self._usd_per_token = Decimal(0)
        self.spend = Spend()

    @property
    def wall_seconds(self) -> float:
        """How long the run has been worked on, by all its processes."""
        return self._now() - self._began

    async def reserve(self, tokens: int, cost_usd: Decimal | None = None) -> Held:
        """Sets aside what a call may take; waits where only calls under way stand in its way.

        Raises:
            BudgetExceededError: the call must not start.
        """
        held = Held(tokens, cost_usd)
        while not self._has_room(held):
            self._settled.clear()
            await self._settled.wait()
        self._under_way.append(held)
        return held

    def check_wall(self) -> None:
        """Raises BudgetExceededError when the wall time is used up."""
        limit = self._budget.max_wall_seconds
        if limit is not None and self.wall_seconds >= limit:
            message = f"budget: max_wall_seconds = {limit:g} is reached"
            raise BudgetExceededError(message, limit="max_wall_seconds")

    def settle(self, held: Held, spent: Spend) -> None:
        """Replaces what was set aside by what the call really took (nothing if it failed)."""
        self._under_way.remove(held)
        self.add(spent)
        self._settled.set()

    def add(self, spent: Spend) -> None:
        """Counts something that was never reserved: a replayed call, a tool run."""
        self.spend += spent
        if spent.usage.total_tokens:
            price = spent.cost_usd / spent.usage.total_tokens
            self._usd_per_token = max(self._usd_per_token, price)

    def _has_room(self, held: Held) -> bool:
        self.check_wall()
        used = self.spend.usage.total_tokens + sum(h.tokens for h in self._under_way)
        calls = self.spend.model_calls + len(self._under_way)
        for name, limit, value in (
            ("max_tokens", self._budget.max_tokens, used + held.tokens),
            ("max_model_calls", self._budget.max_model_calls, calls + 1),
        ):
            if limit is not None and value > limit:
                raise _exceeded(name, limit)
        return self._has_money(held)

    def _has_money(self, held: Held) -> bool:
        limit = self._budget.max_cost_usd
        if limit is None:
            return True
        under_way = sum((self._cost(h) for h in self._under_way), Decimal(0))
        room = may_begin(limit, self.spend.cost_usd, under_way, self._cost(held))
        if room is False:
            raise _exceeded("max_cost_usd", limit)
        return bool(room)

    def _cost(self, held: Held) -> Decimal:
        return self._usd_per_token * held.tokens if held.cost_usd is None else held.cost_usd


def _exceeded(name: str, limit: Decimal | int) -> BudgetExceededError:
    return BudgetExceededError(f"budget: {name} = {limit} is reached", limit=name)
