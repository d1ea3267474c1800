"""How long an error keeps a deployment from being asked, in seconds."""

from __future__ import annotations

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
class CooldownLimits:
    """``longest`` bounds whatever a provider asks for.

    ``unstated`` is for a rate limit without a Retry-After. ``refused`` is for a deployment that
    this key cannot use: asking it again with every call would only cost time. ``failing`` is for
    ``failures`` in a row; it doubles each time the deployment fails again, up to
    ``failing_longest``.
    """

    longest: float = 300.0
    unstated: float = 5.0
    refused: float = 300.0
    failing: float = 1.0
    failing_longest: float = 30.0
    failures: int = 3

    def asked_seconds(self, error: ManusError) -> float | None:
        """The pause that an error asks for by itself; ``None`` where it does not."""
        if isinstance(error, (AuthenticationError, PermissionDeniedError, ModelNotFoundError)):
            return min(self.refused, self.longest)
        if not isinstance(error, RetryableError):
            return None
        seconds = error.retry_after_seconds
        if seconds is None and isinstance(error, RateLimitedError):
            seconds = self.unstated
        return None if seconds is None else min(seconds, self.longest)

    def failing_seconds(self, openings: int) -> float:
        """The pause after failures in a row, ``openings`` counting the pauses before it."""
        return min(self.failing * 2 ** min(openings, 20), self.failing_longest, self.longest)
