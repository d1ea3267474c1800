from __future__ import annotations

from decimal import Decimal

import pytest

from core.completion import TokenUsage
from core.errors import BudgetExceededError
from core.result import Spend
from core.usage import Budget
from tasks.budget import BudgetMeter


def test_calls_under_way_count_against_the_token_limit() -> None:
    meter = BudgetMeter(Budget(max_tokens=100))
    meter.reserve(60)
    with pytest.raises(BudgetExceededError, match="max_tokens = 100"):
        meter.reserve(60)
    meter.settle(60, Spend(usage=TokenUsage(input_tokens=10)))
    meter.reserve(60)


def test_the_cost_limit_stops_the_next_call_once_reached() -> None:
    meter = BudgetMeter(Budget(max_cost_usd=Decimal("0.5")))
    meter.reserve(1)
    meter.settle(1, Spend(model_calls=1, cost_usd=Decimal("0.5")))
    with pytest.raises(BudgetExceededError, match="max_cost_usd"):
        meter.reserve(1)


def test_the_call_limit_counts_calls_under_way() -> None:
    meter = BudgetMeter(Budget(max_model_calls=2))
    meter.reserve(1)
    meter.reserve(1)
    with pytest.raises(BudgetExceededError, match="max_model_calls"):
        meter.reserve(1)


def test_wall_time_is_checked_before_a_call() -> None:
    clock = iter([0.0, 5.0, 11.0])
    meter = BudgetMeter(Budget(max_wall_seconds=10), now=lambda: next(clock))
    meter.reserve(1)
    with pytest.raises(BudgetExceededError, match="max_wall_seconds"):
        meter.reserve(1)


def test_replayed_spend_counts_after_a_resume() -> None:
    meter = BudgetMeter(Budget(max_tokens=100))
    meter.add(Spend(model_calls=1, usage=TokenUsage(input_tokens=90)))
    with pytest.raises(BudgetExceededError):
        meter.reserve(20)
