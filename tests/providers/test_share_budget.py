"""What may be done beside the calls: a tenth of them, and a reserve for those who call little."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from providers.share_budget import ShareBudget


@given(steps=st.lists(st.sampled_from(["call", "extra"]), max_size=300))
def test_extras_never_exceed_their_share_and_the_reserve(steps: list[str]) -> None:
    budget = ShareBudget(0.1, reserve=3)
    calls = extras = 0
    for step in steps:
        if step == "call":
            budget.earn()
            calls += 1
        else:
            extras += budget.spend(0.0)
        assert extras <= 3 + 0.1 * calls + 1e-9


def test_the_reserve_grows_back_in_time_and_no_further() -> None:
    budget = ShareBudget(0.1, reserve=2, per_second=0.5)
    assert [budget.spend(0.0) for _ in range(3)] == [True, True, False]
    assert [budget.spend(2.0) for _ in range(2)] == [True, False]
    assert [budget.spend(1000.0) for _ in range(3)] == [True, True, False]
