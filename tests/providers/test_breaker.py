"""The circuit breaker, under a clock that the tests turn."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import (
    AuthenticationError,
    ManusError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderRejectedError,
    RateLimitedError,
    RetryableError,
)
from providers.breaker import Breaker
from providers.cooldown import CooldownLimits

LIMITS = CooldownLimits()
ROUNDING = 1e-6
ERRORS: tuple[ManusError, ...] = (
    OverloadedError("down"),
    RateLimitedError("slow down"),
    RateLimitedError("slow down", retry_after_seconds=7.0),
    RateLimitedError("slow down", retry_after_seconds=1e6),
    OverloadedError("down", retry_after_seconds=40.0),
    AuthenticationError("no"),
    ProviderRejectedError("bad request"),
)


class Life(RuleBasedStateMachine):
    """Calls come, end in any order, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(LIMITS)
        self.now = 1000.0
        self.running: list[bool] = []

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.admits(self.now))
    @rule()
    def a_call_comes(self) -> None:
        self.running.append(self.breaker.enter(self.now))

    @precondition(lambda self: bool(self.running))
    @rule(which=st.integers(0, 50))
    def a_call_is_answered(self, which: int) -> None:
        probe = self.running.pop(which % len(self.running))
        before = self.breaker.state(self.now)
        self.breaker.note_answer(self.now, probe=probe)
        closes = before == "closed" or (probe and before == "half_open")
        assert self.breaker.state(self.now) == ("closed" if closes else before)

    @precondition(lambda self: bool(self.running))
    @rule(which=st.integers(0, 50), error=st.sampled_from(ERRORS))
    def a_call_fails(self, which: int, error: ManusError) -> None:
        probe = self.running.pop(which % len(self.running))
        self.breaker.note_error(error, self.now, probe=probe)
        if probe and isinstance(error, RetryableError):
            assert self.breaker.state(self.now) == "open"

    @precondition(lambda self: bool(self.running))
    @rule(which=st.integers(0, 50))
    def a_call_is_cancelled(self, which: int) -> None:
        probe = self.running.pop(which % len(self.running))
        before = self.breaker.state(self.now)
        self.breaker.abandon(probe=probe)
        assert self.breaker.state(self.now) == before

    @invariant()
    def at_most_one_call_probes(self) -> None:
        assert sum(self.running) <= 1

    @invariant()
    def a_pause_is_bounded_and_nobody_enters_during_it(self) -> None:
        assert self.breaker.remaining_seconds(self.now) <= LIMITS.longest + ROUNDING
        if self.breaker.state(self.now) == "open":
            assert not self.breaker.admits(self.now)

    @invariant()
    def it_is_never_shut_for_ever(self) -> None:
        later = self.now + LIMITS.longest + ROUNDING
        assert any(self.running) or self.breaker.admits(later)


TestLife = Life.TestCase
TestLife.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)


def failed(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.note_error(OverloadedError("down"), now, probe=breaker.enter(now))


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(LIMITS)
    failed(breaker, 0.0, LIMITS.failures - 1)
    breaker.note_answer(0.0, probe=breaker.enter(0.0))
    failed(breaker, 0.0, LIMITS.failures - 1)
    assert breaker.state(0.0) == "closed"
    failed(breaker, 0.0)
    assert breaker.state(0.0) == "open"


def test_a_deployment_that_keeps_failing_is_left_alone_twice_as_long_each_time() -> None:
    breaker = Breaker(LIMITS)
    failed(breaker, 0.0, LIMITS.failures)
    now, pauses = 0.0, [breaker.remaining_seconds(0.0)]
    for _ in range(6):
        now += breaker.remaining_seconds(now)
        failed(breaker, now)
        pauses.append(breaker.remaining_seconds(now))
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30])


@pytest.mark.parametrize("kind", [AuthenticationError, PermissionDeniedError, ModelNotFoundError])
def test_what_this_key_may_not_do_is_not_tried_again_soon(kind: type[ManusError]) -> None:
    breaker = Breaker(LIMITS)
    breaker.note_error(kind("no"), 0.0, probe=breaker.enter(0.0))
    assert breaker.remaining_seconds(0.0) == LIMITS.refused
    assert not breaker.worth_waiting


def test_a_late_failure_of_an_older_call_does_not_prolong_the_pause() -> None:
    breaker = Breaker(LIMITS)
    entered = [breaker.enter(0.0) for _ in range(10)]
    for number, probe in enumerate(entered):
        breaker.note_error(OverloadedError("down"), number * 0.01, probe=probe)
    assert breaker.remaining_seconds(0.09) < LIMITS.failing


def test_a_longer_pause_is_not_shortened_by_a_later_error() -> None:
    breaker = Breaker(LIMITS)
    first, second = breaker.enter(0.0), breaker.enter(0.0)
    breaker.note_error(RateLimitedError("x", retry_after_seconds=100.0), 0.0, probe=first)
    breaker.note_error(RateLimitedError("x", retry_after_seconds=1.0), 0.0, probe=second)
    assert breaker.remaining_seconds(0.0) == 100
