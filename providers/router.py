"""Which deployment answers, and what happens when it does not.

A route's deployments are tried in the order of its strategy, then those of the routes it falls back
to. What may work elsewhere moves on to the next one; what the caller did wrong, or a refusal, is
not sprayed over providers. One bound holds over all of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.completion import Completion, CompletionRequest, ProviderStatus
from core.errors import (
    AuthenticationError,
    ContextOverflowError,
    ManusError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProviderConnectionError,
    RetryableError,
)
from core.ports import FailedTry, Headroom
from core.usage import UsageEvent
from providers.admission import Admission, Ticket, WaitLimits
from providers.affinity import Makers
from providers.asking import Asking
from providers.base import BaseProvider
from providers.cooldown import CooldownLimits
from providers.health import DeploymentSnapshot, HealthBook, LearningRates
from providers.hedge import Try, first_answer
from providers.route import Route, Routing
from providers.routed_call import RoutedCall
from providers.selection import Selection
from providers.share_budget import ShareBudget
from providers.warm_start import feed, observations

if TYPE_CHECKING:
    # Importing the price lists takes half a second.
    from providers.prices import PriceBook

_MOVES_ON = (
    RetryableError,
    AuthenticationError,
    PermissionDeniedError,
    ModelNotFoundError,
    ContextOverflowError,
)
_EXTRA_SHARE = 0.1
"""Of all calls: how many may be retried where they failed, and how many asked of a second one."""
_RETRY_RESERVE = 10
_RETRIES_PER_SECOND = 1.0


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


class DeploymentRouter:
    """Implements ``core.ports.Router``. Use one instance within one event loop.

    Within a conversation the provider that made its thinking or its tool calls is asked first,
    since only it can read its thinking.
    """

    def __init__(
        self,
        providers: Mapping[str, BaseProvider],
        routing: Routing,
        prices: PriceBook,
        *,
        limits: RouterLimits | None = None,
    ) -> None:
        self._providers = dict(providers)
        self._routing = routing
        self._limits = limits or RouterLimits()
        self._healths = HealthBook(self._limits.cooldown, self._limits.rates)
        self._admission = Admission(self._healths, routing.limiter, self._limits.waits)
        self._selection = Selection(routing, self._healths, self._providers, prices)
        self._asking = Asking(self._providers, prices, self._admission)
        self._retries = ShareBudget(_EXTRA_SHARE, _RETRY_RESERVE, _RETRIES_PER_SECOND)
        self._hedges = ShareBudget(_EXTRA_SHARE, reserve=1.0)
        self._makers = Makers()

    @property
    def uses_only_local_model(self) -> bool:
        """Whether every route ends at the model that runs in this process."""
        used = {d.provider for route in self._routing.routes.values() for d in route.deployments}
        return bool(used) and all(self._providers[name].runs_here for name in used)

    def check_route(self, route: str) -> None:
        """Raises ConfigError, naming it, for a route that does not exist."""
        self._routing.find(route)

    def describe(self) -> dict[str, tuple[str, ...]]:
        """The deployments of every route, as ``provider:model``, as configured."""
        routes = self._routing.routes.items()
        return {name: tuple(d.name for d in route.deployments) for name, route in routes}

    async def get_statuses(self) -> tuple[ProviderStatus, ...]:
        """What is known of every provider, without spending anything."""
        return tuple(await asyncio.gather(*(p.get_status() for p in self._providers.values())))

    async def snapshot(self) -> tuple[DeploymentSnapshot, ...]:
        """How every deployment of the routes, and any other that was asked, is doing now."""
        for route in self._routing.routes.values():
            for deployment in route.deployments:
                self._healths.of(deployment.name)
        limiter = self._routing.limiter
        return tuple(
            [
                health.snapshot(
                    name,
                    time.monotonic(),
                    headroom=await limiter.headroom(name) if limiter else Headroom(),
                    waiting=self._admission.line.waiting_for(name),
                )
                for name, health in self._healths
            ]
        )

    def warm_start(self, events: Iterable[UsageEvent]) -> None:
        """Learns from the usage rows of earlier processes; call it once, before any call."""
        wall = datetime.now(UTC)
        feed(self._healths, observations(events, wall), wall, time.monotonic())

    async def close(self) -> None:
        """Closes every provider. Idempotent."""
        await asyncio.gather(*(p.close() for p in self._providers.values()))

    async def generate_completion(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
        priority: int | None = None,
    ) -> Completion:
        """The first answer that a deployment of the request's route gives, with its cost.

        Where all are at their rate limits, ``priority`` is the place in the line, else the route's.

        Raises:
            ConfigError: there is no such route.
            ProviderRejectedError: the request itself is at fault, or was refused.
            AllDeploymentsFailedError: none answered; ``retryable`` tells whether waiting may help,
                and ``details["retry_after_seconds"]`` how long.
        """
        route = self._routing.find(request.route)
        total = max(self._limits.total_seconds, request.timeout_seconds)
        call = RoutedCall(request, time.monotonic() + total, on_failed_try)
        call.priority = route.queue_priority if priority is None else priority
        maker = self._makers.of(request)
        call.todo = self._selection.select(route, call, maker)
        self._retries.earn()
        self._hedges.earn()
        answer = await self._first_answer(call, None if maker else route)
        self._makers.remember(answer)
        return answer

    async def _first_answer(self, call: RoutedCall, hedging: Route | None) -> Completion:
        only_one = len(call.todo) == 1
        while call.tries < self._limits.max_tries and call.remaining_seconds > 0:
            ticket = await self._admission.admit(call)
            if ticket is None:
                break
            answer = await self._answer(ticket, call, hedging)
            if answer is not None:
                return answer
            if only_one and isinstance(call.errors[-1], ProviderConnectionError):
                await self._back_off(call)
        raise call.failure()

    async def _answer(
        self, ticket: Ticket, call: RoutedCall, route: Route | None
    ) -> Completion | None:
        """What a deployment says, or a second one; without ``route`` nobody else is asked."""
        after = route and self._hedge_after(route, ticket)
        if after is None:
            return await self._try(ticket, call)

        tickets = [ticket]

        async def second() -> Try[Completion] | None:
            other = await self._second_ticket(ticket, call)
            if other is None:
                return None
            tickets.append(other)
            return self._try(other, call)

        try:
            return await first_answer(self._try(ticket, call), after, second)
        finally:
            # A task that is cancelled before it began has left nothing.
            for one in tickets:
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

    async def _try(self, ticket: Ticket, call: RoutedCall) -> Completion | None:
        """One try; ``None`` where it failed and another may do better, or another one answered."""
        try:
            return await self._asking.ask(ticket, call)
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
