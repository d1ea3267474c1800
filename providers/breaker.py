"""The circuit breaker of one deployment.

Closed, it lets every call through. An error that asks for a pause, or failures in a row, open it;
when the pause is over it is half open: one call probes, the others wait for what becomes of it.
Times are the caller's: any clock that only goes forward.
"""

from __future__ import annotations

from typing import Literal

from core.errors import ManusError, RetryableError
from providers.cooldown import CooldownLimits

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """Every ``enter`` is followed by one ``note_answer``, ``note_error`` or ``abandon``."""

    def __init__(self, limits: CooldownLimits) -> None:
        self._limits = limits
        self._until: float | None = None
        self._probing = False
        self._failures = 0
        self._openings = 0
        self.reason = ""
        self.worth_waiting = True

    def state(self, now: float) -> BreakerState:
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "half_open"

    def remaining_seconds(self, now: float) -> float:
        """Until it is half open; 0 where it is so already, or closed."""
        return max(0.0, (self._until or now) - now)

    def admits(self, now: float) -> bool:
        state = self.state(now)
        return state == "closed" or (state == "half_open" and not self._probing)

    def enter(self, now: float) -> bool:
        """Begins a call that ``admits`` allowed; tells whether it is the probe."""
        probe = self._until is not None
        self._probing |= probe
        return probe

    def abandon(self, *, probe: bool) -> None:
        """Ends a call that says nothing of the deployment, such as a cancelled one."""
        if probe:
            self._probing = False

    def note_answer(self, now: float, *, probe: bool) -> None:
        """Closes it for a probe. A late answer to an older call proves nothing."""
        self.abandon(probe=probe)
        if probe and self.state(now) == "half_open":
            self._until = None
            self._failures = 0
        elif self._until is None:
            self._failures = 0
            self._openings = 0

    def note_error(self, error: ManusError, now: float, *, probe: bool) -> bool:
        """Counts or obeys an error; tells whether the error itself asked for a pause."""
        asked = self._limits.asked_seconds(error)
        if asked is not None:
            self.abandon(probe=probe)
            self._open(error, now + asked)
            return True
        if not isinstance(error, RetryableError):
            # A request it refuses, it has read: it is there.
            self.note_answer(now, probe=probe)
        elif self._until is None or probe:
            self.abandon(probe=probe)
            self._count(error, now, probe=probe)
        return False

    def _count(self, error: ManusError, now: float, *, probe: bool) -> None:
        self._failures += 1
        if probe or self._failures >= self._limits.failures:
            self._open(error, now + self._limits.failing_seconds(self._openings))
            self._openings += 1

    def _open(self, error: ManusError, until: float) -> None:
        if self._until is not None and self._until > until:
            return
        self._until = until
        self.reason = type(error).__name__
        self.worth_waiting = isinstance(error, RetryableError)
