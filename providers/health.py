"""What is known of each deployment from its own answers: breaker, speed, errors, load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.base import Value
from core.errors import ManusError, RetryableError
from core.ports import Headroom
from providers.breaker import Breaker, BreakerState
from providers.cooldown import CooldownLimits
from providers.latency import LatencyModel

USUAL_OUTPUT_TOKENS = 512.0
"""Of an answer, until a deployment's own have been seen."""


class DeploymentSnapshot(Value):
    """A deployment at one moment. Seconds and rates are ``None`` before its first answer.

    ``error_rate`` counts newer tries more. What is left is of this minute's limits, ``None``
    without one.
    """

    deployment: str
    breaker: BreakerState
    reason: str
    open_seconds: float
    in_flight: int
    waiting: int
    first_token_seconds: float | None
    seconds_per_token: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    error_rate: float | None
    requests_left: int | None
    tokens_left: int | None


@dataclass(frozen=True, slots=True)
class LearningRates:
    """Half-lives in seconds: of a speed nobody measures any more, and of successes and errors."""

    speed_half_life: float = 10.0
    errors_half_life: float = 300.0


class Health:
    """One deployment. ``now`` is any clock that only goes forward, in seconds."""

    def __init__(self, cooldown: CooldownLimits, rates: LearningRates) -> None:
        self.breaker = Breaker(cooldown)
        self.latency = LatencyModel(rates.speed_half_life)
        self.in_flight = 0
        self._half_life = rates.errors_half_life
        self._counts = (0.0, 0.0)
        self._counted_at: float | None = None

    def note_answer(
        self, seconds: float, output_tokens: int, now: float, first: float | None = None
    ) -> None:
        self.latency.observe(seconds, output_tokens, now, first)
        self._count(now, good=1)

    def note_error(self, error: ManusError, now: float) -> None:
        """Only what a deployment did wrong is held against it."""
        if isinstance(error, RetryableError):
            self._count(now, bad=1)

    def note_given_up(self, seconds: float, now: float) -> None:
        """It took longer than so many seconds; nobody waited for the end."""
        self.latency.observe(seconds, int(self.expected_output_tokens), now)

    def counts(self, now: float) -> tuple[float, float]:
        """Successes and failures, halved with every half-life that has passed."""
        passed = max(0.0, now - self._counted_at) if self._counted_at is not None else 0.0
        kept = 0.5 ** (passed / self._half_life)
        return self._counts[0] * kept, self._counts[1] * kept

    @property
    def expected_output_tokens(self) -> float:
        return self.latency.output_tokens or USUAL_OUTPUT_TOKENS

    def snapshot(
        self, name: str, now: float, *, headroom: Headroom, waiting: int
    ) -> DeploymentSnapshot:
        good, bad = self.counts(now)
        return DeploymentSnapshot(
            deployment=name,
            breaker=self.breaker.state(now),
            reason=self.breaker.reason if self.breaker.state(now) != "closed" else "",
            open_seconds=self.breaker.remaining_seconds(now),
            in_flight=self.in_flight,
            waiting=waiting,
            first_token_seconds=self.latency.first_token_seconds,
            seconds_per_token=self.latency.seconds_per_token,
            p50_seconds=self.latency.percentile(0.5),
            p95_seconds=self.latency.percentile(0.95),
            error_rate=bad / (good + bad) if good + bad > 0 else None,
            requests_left=headroom.requests,
            tokens_left=headroom.tokens,
        )

    def _count(self, now: float, *, good: int = 0, bad: int = 0) -> None:
        before = self.counts(now)
        self._counts = (before[0] + good, before[1] + bad)
        self._counted_at = now


class HealthBook:
    """The deployments of one process by name; one that is new is healthy."""

    def __init__(self, cooldown: CooldownLimits, rates: LearningRates) -> None:
        self._cooldown = cooldown
        self._rates = rates
        self._healths: dict[str, Health] = {}

    def of(self, name: str) -> Health:
        health = self._healths.get(name)
        if health is None:
            health = self._healths[name] = Health(self._cooldown, self._rates)
        return health

    def __iter__(self) -> Iterator[tuple[str, Health]]:
        return iter(sorted(self._healths.items()))
