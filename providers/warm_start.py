"""What recent usage rows tell of deployments, so that a new process does not begin blind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from core import errors
from core.errors import ManusError
from core.usage import UsageEvent
from providers.health import HealthBook

OLDEST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Observation:
    """One try as a usage row has it; ``error`` is ``None`` for an answer."""

    deployment: str
    ended_at: datetime
    seconds: float
    output_tokens: int
    first_token_seconds: float | None
    error: ManusError | None


def observations(events: Iterable[UsageEvent], now: datetime) -> list[Observation]:
    """The tries of the last hour, oldest first: no replays, no cache hits, nothing interrupted.

    A row does not say how long the provider asked to be left alone: such an error stands for the
    pause that is taken where none is stated.
    """
    found = [
        _observation(event, event.deployment)
        for event in events
        if event.deployment is not None
        and _tells(event)
        and 0 <= (now - event.ts).total_seconds() <= OLDEST_SECONDS
    ]
    return sorted(found, key=lambda o: o.ended_at)


def feed(healths: HealthBook, seen: Iterable[Observation], wall: datetime, now: float) -> None:
    """Replays observations as if they had been made here; ``now`` is the clock of the breakers."""
    for one in seen:
        at = now - (wall - one.ended_at).total_seconds()
        health = healths.of(one.deployment)
        probe = health.breaker.enter(at) if health.breaker.admits(at) else False
        if one.error is None:
            health.breaker.note_answer(at, probe=probe)
            health.note_answer(one.seconds, one.output_tokens, at, one.first_token_seconds)
        else:
            health.breaker.note_error(one.error, at, probe=probe)
            health.note_error(one.error, at)


def _tells(event: UsageEvent) -> bool:
    if event.kind != "model_call" or event.replayed or event.cache_hit:
        return False
    return event.outcome == "ok" or (event.outcome == "error" and _error_of(event) is not None)


def _error_of(event: UsageEvent) -> ManusError | None:
    kind = getattr(errors, event.error_type or "", None)
    if isinstance(kind, type) and issubclass(kind, ManusError):
        return kind("in an earlier process")
    return None


def _observation(event: UsageEvent, deployment: str) -> Observation:
    return Observation(
        deployment=deployment,
        ended_at=event.ts,
        seconds=event.duration_seconds,
        output_tokens=event.output_tokens,
        first_token_seconds=event.time_to_first_chunk_seconds,
        error=_error_of(event) if event.outcome == "error" else None,
    )
