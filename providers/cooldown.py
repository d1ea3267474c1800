"""Which deployments asked to be left alone, until when, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.errors import (
    AuthenticationError,
    ManusError,
    ModelNotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RetryableError,
)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """``until`` is on the monotonic clock; ``worth_waiting`` tells that it may work then."""

    until: float
    reason: str
    worth_waiting: bool

    @property
    def remaining_seconds(self) -> float:
        return max(0.0, self.until - time.monotonic())


@dataclass(frozen=True, slots=True)
class CooldownLimits:
    """Seconds. ``unstated`` is for a rate limit without a Retry-After.

    ``refused`` is for a deployment that this key cannot use: asking it again with every call would
    only cost time.
    """

    longest: float = 300.0
    unstated: float = 5.0
    refused: float = 60.0


class Cooldowns:
    """The cooling deployments of one process, by name."""

    def __init__(self, limits: CooldownLimits) -> None:
        self._limits = limits
        self._cooling: dict[str, Cooldown] = {}

    def of(self, deployment: str) -> Cooldown | None:
        """The cooldown that a deployment is in, ``None`` once it is over."""
        cooldown = self._cooling.get(deployment)
        if cooldown and cooldown.remaining_seconds <= 0:
            del self._cooling[deployment]
            return None
        return cooldown

    def note(self, deployment: str, error: ManusError) -> bool:
        """Cools a deployment down where its error asks for that; tells whether it did."""
        seconds = self._seconds(error)
        if seconds is None:
            return False
        bounded = min(seconds, self._limits.longest)
        self._cooling[deployment] = Cooldown(
            until=time.monotonic() + bounded,
            reason=type(error).__name__,
            worth_waiting=isinstance(error, RetryableError),
        )
        return True

    def _seconds(self, error: ManusError) -> float | None:
        if isinstance(error, (AuthenticationError, PermissionDeniedError, ModelNotFoundError)):
            return self._limits.refused
        if not isinstance(error, RetryableError):
            return None
        if isinstance(error, RateLimitedError) and error.retry_after_seconds is None:
            return self._limits.unstated
        return error.retry_after_seconds
