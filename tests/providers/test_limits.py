"""Requests and tokens per minute: never more than allowed, in one process or in several."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ports import Limiter, Reservation
from core.provider_settings import RateLimits
from providers.file_limiter import FileLimiter
from providers.limits import InProcessLimiter, Window
from tests.fakes.threaded import serve_in_thread
from tests.providers.limited_process import (
    OUTPUT_TOKENS,
    PROCESSES,
    TPM,
    answer_with_usage,
)

ROOT = Path(__file__).parents[2]
NAME = "openai:gpt-6-sol"
Make = Callable[[RateLimits, Callable[[], float]], Limiter]


@pytest.fixture(params=["in process", "in a file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "in process":
        return lambda limits, clock: InProcessLimiter({"openai": limits}, clock)
    return lambda limits, clock: FileLimiter(tmp_path, {"openai": limits}, clock)


@given(
    calls=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 900)), max_size=60),
    limits=st.builds(RateLimits, rpm=st.integers(1, 9), tpm=st.integers(100, 1500)),
)
@settings(deadline=None, max_examples=60)
def test_no_minute_has_more_than_its_limits(
    calls: Sequence[tuple[float, int]], limits: RateLimits
) -> None:
    window, now = Window(), 5000.0
    taken: list[tuple[float, int]] = []
    for passed, tokens in calls:
        now += passed
        wait = window.wait_seconds(limits, tokens, now)
        assert 0 <= wait <= 61
        if wait:
            later = Window(window.slots)
            assert later.wait_seconds(limits, tokens, now + wait) == 0, "it says when to come back"
            continue
        window.add(now, tokens)
        taken.append((now, tokens))
        within = [t for at, t in taken if at > now - 60]
        assert limits.rpm is None or len(within) <= limits.rpm
        assert limits.tpm is None or len(within) == 1 or sum(within) <= limits.tpm


async def test_what_was_not_used_is_given_back(make: Make) -> None:
    limiter = make(RateLimits(tpm=1000), lambda: 50.0)
    first = await limiter.reserve(NAME, 900)
    assert first.granted
    assert not (await limiter.reserve(NAME, 900)).granted
    await limiter.settle(first, 100)
    assert (await limiter.headroom(NAME)).tokens == 900
    assert (await limiter.reserve(NAME, 900)).granted


async def test_what_was_used_beyond_the_estimate_counts(make: Make) -> None:
    limiter = make(RateLimits(tpm=1000, rpm=5), lambda: 50.0)
    await limiter.settle(await limiter.reserve(NAME, 100), 950)
    refused = await limiter.reserve(NAME, 100)
    assert 59 < refused.wait_seconds <= 61
    assert (await limiter.headroom(NAME)).requests == 4


async def test_a_provider_s_limit_is_shared_by_its_models(make: Make) -> None:
    limiter = make(RateLimits(rpm=1), lambda: 50.0)
    assert (await limiter.reserve("openai:one", 1)).granted
    assert not (await limiter.reserve("openai:two", 1)).granted
    assert (await limiter.reserve("anthropic:three", 1)).granted


async def test_a_call_larger_than_the_limit_goes_alone(make: Make) -> None:
    limiter = make(RateLimits(tpm=100), lambda: 50.0)
    assert (await limiter.reserve(NAME, 5000)).granted
    assert not (await limiter.reserve(NAME, 1)).granted


async def test_a_clock_that_was_set_back_does_not_shut_the_limit(make: Make) -> None:
    times = [10_000.0]
    limiter = make(RateLimits(rpm=1), lambda: times[0])
    assert (await limiter.reserve(NAME, 1)).granted
    times[0] = 500.0
    assert (await limiter.reserve(NAME, 1)).granted


async def test_limiters_over_one_folder_count_together(tmp_path: Path) -> None:
    limits = {"openai": RateLimits(rpm=20)}
    limiters = [FileLimiter(tmp_path, limits) for _ in range(5)]

    async def ask(limiter: FileLimiter) -> list[Reservation]:
        return [await limiter.reserve(NAME, 1) for _ in range(10)]

    asked = await asyncio.gather(*(ask(limiter) for limiter in limiters))
    assert sum(r.granted for each in asked for r in each) == 20


async def test_a_process_killed_while_it_wrote_leaves_a_readable_file(tmp_path: Path) -> None:
    limiter = FileLimiter(tmp_path, {"openai": RateLimits(rpm=1)}, lambda: 50.0)
    assert (await limiter.reserve(NAME, 1)).granted
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + b"torn")
    assert not (await limiter.reserve(NAME, 1)).granted


def test_four_processes_never_exceed_the_tokens_of_a_minute(tmp_path: Path) -> None:
    """All of it happens within the first minute, so that what was spent is what was answered."""
    command = [sys.executable, "-m", "tests.providers.limited_process", str(tmp_path)]
    with serve_in_thread(answer_with_usage) as server:
        processes = [
            Popen([*command, server.openai_url], cwd=ROOT, stdout=PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        counts = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
        arrived = [request.started_monotonic for request in server.requests]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    if max(arrived) - min(arrived) > 55:
        pytest.skip("this machine was too slow: the minute was over")
    spent = len(arrived) * (OUTPUT_TOKENS + 12)
    one_estimate = counts[0]["estimate"]
    assert TPM - one_estimate <= spent <= TPM + one_estimate
    assert sum(c["answered"] for c in counts) == len(arrived)
    assert all(c["refused"] for c in counts), "each of them was held back"
