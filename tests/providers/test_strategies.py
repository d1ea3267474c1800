"""The order that each strategy gives, with seeded chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.provider_settings import StrategyName
from providers.deployment import Deployment
from providers.latency import LatencyModel
from providers.strategies import STRATEGIES, Candidate, Choice

A, B, C = (Deployment(name, "model") for name in "abc")
ALL = (Candidate(A), Candidate(B), Candidate(C))


def firsts(
    name: StrategyName, candidates: Sequence[Candidate], calls: int = 3000
) -> Counter[Deployment]:
    chance = Random(7)
    order = STRATEGIES[name]
    return Counter(order(candidates, Choice(turn, chance))[0].deployment for turn in range(calls))


@pytest.mark.parametrize("name", STRATEGIES)
@given(
    candidates=st.lists(
        st.builds(
            Candidate,
            st.builds(Deployment, st.uuids().map(str), st.just("model")),
            weight=st.floats(0, 10),
            expected_cost_usd=st.none() | st.decimals(0, 5, places=3),
            expected_seconds=st.none() | st.floats(0, 100),
            in_flight=st.integers(0, 50),
            successes=st.floats(0, 1000),
            failures=st.floats(0, 1000),
        ),
        max_size=6,
    ),
    turn=st.integers(0, 100),
    seed=st.integers(0, 99),
)
def test_every_strategy_only_orders(
    name: StrategyName, candidates: list[Candidate], turn: int, seed: int
) -> None:
    ordered = STRATEGIES[name](candidates, Choice(turn, Random(seed)))
    again = STRATEGIES[name](candidates, Choice(turn, Random(seed)))
    assert ordered == again, "the same seed gives the same order"
    assert Counter(c.deployment for c in ordered) == Counter(c.deployment for c in candidates)


def test_priority_keeps_the_order_and_round_robin_turns_it() -> None:
    assert firsts("priority", ALL, 3) == {A: 3}
    orders = [STRATEGIES["round_robin"](ALL, Choice(turn, Random(1))) for turn in range(4)]
    assert ["".join(c.deployment.provider for c in o) for o in orders] == [
        "abc", "bca", "cab", "abc",
    ]  # fmt: skip


def test_random_is_even_and_weighted_follows_the_weights() -> None:
    assert all(900 < n < 1100 for n in firsts("random", ALL).values())
    weighed = (Candidate(A, weight=6), Candidate(B, weight=3), Candidate(C, weight=0))
    seen = firsts("weighted", weighed)
    assert 1.8 < seen[A] / seen[B] < 2.2
    assert seen[C] == 0, "weight 0 is for emergencies only"


def test_least_cost_asks_the_cheapest_and_an_unknown_price_last() -> None:
    priced = (
        Candidate(A),
        Candidate(B, expected_cost_usd=Decimal("0.02")),
        Candidate(C, expected_cost_usd=Decimal("0.01")),
    )
    ordered = STRATEGIES["least_cost"](priced, Choice(0, Random(1)))
    assert [c.deployment for c in ordered] == [C, B, A]


def test_latency_avoids_the_slow_and_the_busy_without_a_stampede() -> None:
    timed = (
        Candidate(A, expected_seconds=1.0),
        Candidate(B, expected_seconds=1.2),
        Candidate(C, expected_seconds=10.0),
    )
    seen = firsts("latency", timed)
    assert seen[C] == 0
    assert seen[A] > seen[B] > 500, "the second best still gets a good part"
    busy = (Candidate(A, expected_seconds=1.0, in_flight=9), timed[1])
    assert firsts("latency", busy)[A] == 0


@pytest.mark.parametrize(
    "worse",
    [
        Candidate(B, 1.0, Decimal("0.1"), 1.0, 0, 5.0, 45.0),
        Candidate(B, 1.0, Decimal("0.1"), 8.0, 0, 45.0, 5.0),
        Candidate(B, 1.0, Decimal("1.0"), 1.0, 0, 45.0, 5.0),
        Candidate(B, 1.0, None, 1.0, 0, 45.0, 5.0),
    ],
    ids=["failing", "slow", "dear", "of unknown price"],
)
def test_adaptive_prefers_what_succeeds_soon_and_cheaply(
    worse: Candidate,
) -> None:
    good = Candidate(A, 1.0, Decimal("0.1"), 1.0, 0, 45.0, 5.0)
    assert firsts("adaptive", (worse, good))[A] > 2700


def test_adaptive_tries_what_it_does_not_know() -> None:
    good = Candidate(A, expected_seconds=1.0, successes=20, failures=5)
    new = Candidate(B)
    seen = firsts("adaptive", (good, new))
    assert seen[A] > 300
    assert seen[B] > 300


def test_the_latency_model_tells_the_start_from_the_tokens() -> None:
    model, chance = LatencyModel(10), Random(3)
    for _ in range(60):
        tokens = chance.randrange(20, 800)
        model.observe(0.5 + 0.01 * tokens, tokens, 100.0)
    assert model.first_token_seconds == pytest.approx(0.5, abs=0.01)
    assert model.seconds_per_token == pytest.approx(0.01, rel=0.01)
    assert model.expected_seconds(100, 100.0) == pytest.approx(1.5, rel=0.02)


def test_answers_of_one_length_tell_only_their_sum() -> None:
    model = LatencyModel(10)
    for _ in range(30):
        model.observe(2.0, 7, 100.0)
    assert model.expected_seconds(7, 100.0) == pytest.approx(2.0)
    assert model.percentile(0.95) == 2.0


def test_a_streamed_answer_s_first_token_is_taken_as_it_is() -> None:
    model = LatencyModel(10)
    for _ in range(30):
        model.observe(2.4, 100, 100.0, first=0.4)
    assert model.first_token_seconds == pytest.approx(0.4)
    assert model.seconds_per_token == pytest.approx(0.02)


def test_what_nobody_asks_any_more_is_thought_faster_by_and_by() -> None:
    model = LatencyModel(10)
    model.observe(8.0, 10, 100.0)
    assert model.expected_seconds(10, 100.0) == pytest.approx(8.0)
    assert model.expected_seconds(10, 110.0) == pytest.approx(4.0)
    assert model.expected_seconds(10, 130.0) == pytest.approx(1.0)
