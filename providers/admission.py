"""Which call may be sent to which deployment now, and how long the others wait."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.ports import Limiter, Reservation
from providers.deployment import Deployment
from providers.health import Health, HealthBook
from providers.routed_call import RoutedCall
from providers.waiting_line import Waiter, WaitingLine


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """The longest that a call waits, in seconds: for a breaker, and for our own rate limits.

    ``look_again`` is how often one looks at what others on this machine may have freed.
    """

    breaker: float = 30.0
    limits: float = 120.0
    look_again: float = 1.0


@dataclass(slots=True)
class Ticket:
    """Leave to ask a deployment once.

    ``judged`` tells that its breaker knows the outcome, ``streaming`` that an answer has begun and
    is being read, ``left`` that it is over.
    """

    deployment: Deployment
    health: Health
    probe: bool
    reservation: Reservation | None
    index: int
    started: float
    judged: bool = False
    streaming: bool = False
    left: bool = False


@dataclass(frozen=True, slots=True)
class _Wait:
    seconds: float
    longest: float
    worth: bool
    why: str


class Admission:
    """Breakers and rate limits over all calls of a process."""

    def __init__(self, healths: HealthBook, limiter: Limiter | None, waits: WaitLimits) -> None:
        self.line = WaitingLine()
        self._healths = healths
        self._limiter = limiter
        self._waits = waits

    async def admit(self, call: RoutedCall) -> Ticket | None:
        """The first of the call's deployments that is ready, after a wait where none is.

        ``None`` where waiting is not worth it, or would take too long.
        """
        ready = await self.admit_now(call, call.todo)
        if ready is not None or not call.todo:
            return ready
        began = time.monotonic()
        with self.line.place(call.priority, call.todo) as waiter:
            while call.remaining_seconds > 0:
                full: dict[Deployment, float] = {}
                if ticket := await self._first_ready(self.line.free_for(waiter), call, full):
                    return ticket
                if not await self._sleep(waiter, call, full, began):
                    return None
        return None

    async def admit_now(self, call: RoutedCall, wanted: Sequence[Deployment]) -> Ticket | None:
        """The same without a wait, and behind those who wait."""
        free = self.line.free_for_newcomer(call.priority, wanted)
        return await self._first_ready(free, call, {})

    async def leave(self, ticket: Ticket, tokens: int | None) -> None:
        """Ends a try; ``tokens`` is what it used, ``None`` where that is not known."""
        try:
            if self._limiter and ticket.reservation and tokens is not None:
                await self._limiter.settle(ticket.reservation, tokens)
        finally:
            self.release(ticket)

    def release(self, ticket: Ticket) -> None:
        """Ends a try whose use of tokens stays as estimated. Idempotent."""
        if ticket.left:
            return
        ticket.left = True
        ticket.health.in_flight -= 1
        if not ticket.judged:
            ticket.health.breaker.abandon(probe=ticket.probe)
        if self.line:
            self.line.wake_first()

    async def _first_ready(
        self, wanted: Iterable[Deployment], call: RoutedCall, full: dict[Deployment, float]
    ) -> Ticket | None:
        """``full`` takes down who is at its rate limit, and for how long."""
        for deployment in wanted:
            health = self._healths.of(deployment.name)
            if not health.breaker.admits(time.monotonic()):
                continue
            probe = health.breaker.enter(time.monotonic())
            reservation = await self._reserve(deployment, call, health, probe=probe)
            if reservation is not None and not reservation.granted:
                health.breaker.abandon(probe=probe)
                full[deployment] = reservation.wait_seconds
                continue
            health.in_flight += 1
            call.tries += 1
            index = call.tries - 1
            return Ticket(deployment, health, probe, reservation, index, time.monotonic())
        return None

    async def _reserve(
        self, deployment: Deployment, call: RoutedCall, health: Health, *, probe: bool
    ) -> Reservation | None:
        if self._limiter is None:
            return None
        output = call.request.max_output_tokens or health.expected_output_tokens
        tokens = call.count_tokens(deployment.model) + round(output)
        asked = False
        try:
            reservation = await self._limiter.reserve(deployment.name, tokens)
            asked = True
        finally:
            if not asked:
                health.breaker.abandon(probe=probe)
        return reservation

    async def _sleep(
        self, waiter: Waiter, call: RoutedCall, full: Mapping[Deployment, float], began: float
    ) -> bool:
        """Until something may have changed; ``False`` where no wait is worth it."""
        now = time.monotonic()
        waits = [self._wait_for(d, now, full, call) for d in call.todo]
        worth = [w for w in waits if w.worth]
        call.retryable |= bool(worth)
        call.wait_seconds = min((w.seconds for w in worth), default=None)
        bearable = [w.seconds for w in worth if now - began + w.seconds <= w.longest]
        if not bearable or min(bearable) > call.remaining_seconds:
            return False
        await waiter.sleep(min(*bearable, self._waits.look_again, call.remaining_seconds))
        return True

    def _wait_for(
        self, deployment: Deployment, now: float, full: Mapping[Deployment, float], call: RoutedCall
    ) -> _Wait:
        breaker = self._healths.of(deployment.name).breaker
        if breaker.state(now) == "open":
            seconds = breaker.remaining_seconds(now)
            why = f"cooling down for {seconds:.0f} s after {breaker.reason}"
            wait = _Wait(seconds, self._waits.breaker, breaker.worth_waiting, why)
        elif not breaker.admits(now):
            why = f"being probed after {breaker.reason}"
            wait = _Wait(self._waits.look_again, self._waits.breaker, True, why)
        else:
            seconds = full.get(deployment, self._waits.look_again)
            wait = _Wait(seconds, self._waits.limits, True, "at its rate limit")
        call.problems.setdefault(deployment.name, wait.why)
        return wait
