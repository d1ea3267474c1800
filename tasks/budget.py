"""The limits of a run: checked before each model call, settled after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from core.completion import Completion
from core.errors import BudgetExceededError
from core.result import Spend
from core.usage import Budget


def spend_of(completion: Completion) -> Spend:
    return Spend(
        model_calls=1,
        usage=completion.usage,
        cost_usd=completion.cost_usd or Spend().cost_usd,
        unpriced_calls=int(completion.cost_usd is None),
    )


class BudgetMeter:
    """Adds up what a run spends, replayed calls included: they were paid, once, by this run.

    A call under way counts with the tokens it reserved, at the highest price per token that this
    run has paid so far, so that parallel steps do not pass a limit together.
    """

    def __init__(self, budget: Budget, now: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._now = now
        self._began = now()
        self._reserved_tokens = 0
        self._reserved_calls = 0
        self._usd_per_token = Decimal(0)
        self.spend = Spend()

    def reserve(self, tokens: int) -> None:
        """Raises BudgetExceededError if the call, estimated at ``tokens``, must not start."""
        self.check_wall()
        used = self.spend.usage.total_tokens + self._reserved_tokens
        cost = self.spend.cost_usd + self._usd_per_token * self._reserved_tokens
        calls = self.spend.model_calls + self._reserved_calls
        limits = (
            ("max_tokens", self._budget.max_tokens, used + tokens, True),
            ("max_cost_usd", self._budget.max_cost_usd, cost, False),
            ("max_model_calls", self._budget.max_model_calls, calls + 1, True),
        )
        for name, limit, value, inclusive in limits:
            if limit is not None and (value > limit or (value == limit and not inclusive)):
                raise BudgetExceededError(f"budget: {name} = {limit} is reached", limit=name)
        self._reserved_tokens += tokens
        self._reserved_calls += 1

    def check_wall(self) -> None:
        """Raises BudgetExceededError when the wall time is used up."""
        limit = self._budget.max_wall_seconds
        if limit is not None and self._now() - self._began >= limit:
            message = f"budget: max_wall_seconds = {limit:g} is reached"
            raise BudgetExceededError(message, limit="max_wall_seconds")

    def settle(self, reserved_tokens: int, spent: Spend) -> None:
        """Replaces a reservation by what the call really took (nothing if it failed)."""
        self._reserved_tokens -= reserved_tokens
        self._reserved_calls -= 1
        self.add(spent)

    def add(self, spent: Spend) -> None:
        """Counts something that was never reserved: a replayed call, a tool run."""
        self.spend += spent
        if spent.usage.total_tokens:
            price = spent.cost_usd / spent.usage.total_tokens
            self._usd_per_token = max(self._usd_per_token, price)
