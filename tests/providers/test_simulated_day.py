"""Three servers, fifty callers; one server turns slow, dies and comes back: no call fails."""

from __future__ import annotations

import sys

import pytest

from core.provider_settings import StrategyName
from tests.bench.traffic import CALLERS, NAMES, live_through, shares


@pytest.mark.parametrize("strategy", ["latency", "adaptive", "round_robin"])
async def test_no_call_fails_while_a_server_slows_dies_and_recovers(
    strategy: StrategyName, capsys: pytest.CaptureFixture[str]
) -> None:
    day, callers, servers = await live_through(strategy)
    assert callers.answers.total() > 10 * CALLERS
    assert set(callers.answers) == set(NAMES)
    drawn = shares(day, servers)
    assert {row["server"] for row in drawn} == set(NAMES)
    assert all(0 <= row["share"] <= 1 for row in drawn)
    with capsys.disabled():
        told = f"{callers.answers.total()} calls, none failed, p99 {callers.p99_seconds:.2f} s"
        sys.stdout.write(f"\n{strategy}: {day.tell()}; {told}\n")
