"""Requests and tokens per minute, counted before they are spent.

A window over the last minute rather than a bucket: a full bucket that refills lets twice its size
through within its first minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from core.ports import Headroom, Reservation
from core.provider_settings import RateLimits

WINDOW_SECONDS = 60
NO_LIMIT = RateLimits()
_LIVES = WINDOW_SECONDS + 1
"""Seconds after its beginning when the last moment of a slot has left the window."""


class Window:
    """What one limit was used for lately, by whole seconds: ``(second, requests, tokens)``."""

    def __init__(self, slots: Iterable[tuple[int, int, int]] = ()) -> None:
        self._slots = {second: (requests, tokens) for second, requests, tokens in slots}

    @property
    def slots(self) -> list[tuple[int, int, int]]:
        return [(second, *used) for second, used in sorted(self._slots.items())]

    def used(self, now: float) -> tuple[int, int]:
        """Requests and tokens of the last minute; forgets what is older, or ahead of the clock."""
        for second in [s for s in self._slots if not now - _LIVES < s <= now + WINDOW_SECONDS]:
            del self._slots[second]
        used = self._slots.values()
        return sum(r for r, _ in used), sum(t for _, t in used)

    def wait_seconds(self, limits: RateLimits, tokens: int, now: float) -> float:
        """Until there is room for one more request of so many tokens; 0 where there is.

        A request larger than the whole limit is let through alone.
        """
        requests, spent = self.used(now)
        if _has_room(limits, requests, spent, tokens):
            return 0.0
        for second in sorted(self._slots):
            gone = self._slots[second]
            requests, spent = requests - gone[0], spent - gone[1]
            if _has_room(limits, requests, spent, tokens):
                return max(0.001, second + _LIVES - now)
        return float(_LIVES)

    def add(self, now: float, tokens: int, *, requests: int = 1) -> None:
        """Counts at the second of ``now``; with ``requests=0`` it corrects what was counted."""
        second = int(now)
        if requests or second in self._slots:
            before = self._slots.get(second, (0, 0))
            self._slots[second] = (before[0] + requests, max(0, before[1] + tokens))

    def headroom(self, limits: RateLimits, now: float) -> Headroom:
        requests, tokens = self.used(now)
        return Headroom(
            requests=None if limits.rpm is None else max(0, limits.rpm - requests),
            tokens=None if limits.tpm is None else max(0, limits.tpm - tokens),
        )


class InProcessLimiter:
    """Implements ``core.ports.Limiter`` for the calls of one process."""

    def __init__(
        self, limits: Mapping[str, RateLimits], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = dict(limits)
        self._clock = clock
        self._windows = {key: Window() for key in self._limits}

    async def reserve(self, deployment: str, tokens: int) -> Reservation:
        key = limit_key(self._limits, deployment)
        if key is None:
            return Reservation(deployment, tokens)
        now = self._clock()
        wait = self._windows[key].wait_seconds(self._limits[key], tokens, now)
        if not wait:
            self._windows[key].add(now, tokens)
        return Reservation(deployment, tokens, now, wait)

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        key = limit_key(self._limits, reservation.deployment)
        if key is not None:
            corrected = tokens - reservation.tokens
            self._windows[key].add(reservation.taken_at, corrected, requests=0)

    async def headroom(self, deployment: str) -> Headroom:
        key = limit_key(self._limits, deployment)
        if key is None:
            return Headroom()
        return self._windows[key].headroom(self._limits[key], self._clock())


def limit_key(limits: Mapping[str, RateLimits], deployment: str) -> str | None:
    """Under which a deployment is limited: its own name, else its provider's, shared by models."""
    provider = deployment.partition(":")[0]
    return next((key for key in (deployment, provider) if key in limits), None)


def _has_room(limits: RateLimits, requests: int, spent: int, tokens: int) -> bool:
    fits_requests = limits.rpm is None or requests < limits.rpm
    return fits_requests and (limits.tpm is None or spent == 0 or spent + tokens <= limits.tpm)
