"""From one deployment to the next, until one answers or the call's bounds are reached."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from core.errors import (
    AuthenticationError,
    ContextOverflowError,
    ManusError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProviderConnectionError,
    RetryableError,
    UnsupportedError,
)
from providers.admission import Admission, Ticket, WaitLimits
from providers.cooldown import CooldownLimits
from providers.health import LearningRates
from providers.hedge import Try, first_answer
from providers.route import Route
from providers.routed_call import RoutedCall
from providers.share_budget import ShareBudget

_MOVES_ON = (
    RetryableError,
    AuthenticationError,
    PermissionDeniedError,
    ModelNotFoundError,
    ContextOverflowError,
    UnsupportedError,
)
_EXTRA_SHARE = 0.1
"""Of all calls: how many may be retried where they failed, and how many asked of a second one."""
_RETRY_RESERVE = 10
_RETRIES_PER_SECOND = 1.0

T = TypeVar("T")
Ask = Callable[[Ticket, RoutedCall], Awaitable[T | None]]
"""Spends a ticket; ``None`` where another try of the call was first."""


@dataclass(frozen=True, slots=True)
class RouterLimits:
    """Bounds of one call over all its tries, and how long to wait between them (seconds)."""

    total_seconds: float = 600.0
    max_tries: int = 6
    connection_tries: int = 3
    backoff_seconds: float = 0.5
    waits: WaitLimits = field(default_factory=WaitLimits)
    cooldown: CooldownLimits = field(default_factory=CooldownLimits)
    rates: LearningRates = field(default_factory=LearningRates)


class Failover:
    """Over all calls of a process, whatever they ask for."""

    def __init__(self, limits: RouterLimits, admission: Admission) -> None:
        self._limits = limits
        self._admission = admission
        self._retries = ShareBudget(_EXTRA_SHARE, _RETRY_RESERVE, _RETRIES_PER_SECOND)
        self._hedges = ShareBudget(_EXTRA_SHARE, reserve=1.0)

    def earn(self) -> None:
        """One call came in, which allows a share of a retry and of a second ask."""
        self._retries.earn()
        self._hedges.earn()

    def deadline(self, timeout_seconds: float) -> float:
        """Of a call over all its tries, on the monotonic clock."""
        return time.monotonic() + max(self._limits.total_seconds, timeout_seconds)

    async def first_answer(self, call: RoutedCall, hedging: Route | None, ask: Ask[T]) -> T:
        """Of the deployments in ``call.todo``; only with ``hedging`` are two asked at a time.

        Raises:
            ManusError: what says that nobody answered, and why.
        """
        only_one = len(call.todo) == 1
        while call.tries < self._limits.max_tries and call.remaining_seconds > 0:
            ticket = await self._admission.admit(call)
            if ticket is None:
                break
            answer = await self._answer(ticket, call, hedging, ask)
            if answer is not None:
                return answer
            if only_one and isinstance(call.errors[-1], ProviderConnectionError):
                await self._back_off(call)
        raise call.failure()

    async def _answer(
        self, ticket: Ticket, call: RoutedCall, route: Route | None, ask: Ask[T]
    ) -> T | None:
        """What a deployment says, or a second one; without ``route`` nobody else is asked."""
        after = route and self._hedge_after(route, ticket)
        if after is None:
            return await self._try(ticket, call, ask)

        tickets = [ticket]

        async def second() -> Try[T] | None:
            other = await self._second_ticket(ticket, call)
            if other is None:
                return None
            tickets.append(other)
            return self._try(other, call, ask)

        try:
            return await first_answer(self._try(ticket, call, ask), after, second)
        finally:
            # A task that is cancelled before it began has left nothing.
            for one in tickets:
                if not one.streaming:
                    self._admission.release(one)

    async def _second_ticket(self, first: Ticket, call: RoutedCall) -> Ticket | None:
        others = [d for d in call.todo if d != first.deployment]
        if not others or call.tries >= self._limits.max_tries:
            return None
        if not self._hedges.spend(time.monotonic()):
            return None
        return await self._admission.admit_now(call, others)

    def _hedge_after(self, route: Route, ticket: Ticket) -> float | None:
        if route.hedge_after_seconds == "p95":
            return ticket.health.latency.percentile(0.95)
        return route.hedge_after_seconds

    async def _try(self, ticket: Ticket, call: RoutedCall, ask: Ask[T]) -> T | None:
        """One try; ``None`` where it failed and another may do better, or another one answered."""
        try:
            return await ask(ticket, call)
        except _MOVES_ON as error:
            if not self._may_pass(error, ticket, call):
                call.todo.remove(ticket.deployment)
            return None

    def _may_pass(self, error: ManusError, ticket: Ticket, call: RoutedCall) -> bool:
        """Whether the same deployment is worth another try within this call.

        It is when it said how long to wait, and after a broken connection where there is nowhere
        else to go.
        """
        asked = self._limits.cooldown.asked_seconds(error)
        again = isinstance(error, RetryableError) and asked is not None
        if isinstance(error, ProviderConnectionError) and call.todo == [ticket.deployment]:
            again = again or call.tries < self._limits.connection_tries
        return again and self._retries.spend(time.monotonic())

    async def _back_off(self, call: RoutedCall) -> None:
        if not call.todo:
            return
        longest = min(5.0, self._limits.backoff_seconds * 2**call.tries)
        await asyncio.sleep(min(random.uniform(0, longest), call.remaining_seconds))
