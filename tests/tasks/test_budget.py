from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from core.completion import TokenUsage
from core.errors import BudgetExceededError
from core.result import Spend
from core.usage import Budget
from tasks.budget import BudgetMeter, Held

CENT = Decimal("0.01")


async def test_calls_under_way_count_against_the_token_limit() -> None:
    meter = BudgetMeter(Budget(max_tokens=100))
    held = await meter.reserve(60)
    with pytest.raises(BudgetExceededError, match="max_tokens = 100"):
        await meter.reserve(60)
    meter.settle(held, Spend(usage=TokenUsage(input_tokens=10)))
    await meter.reserve(60)


async def test_the_cost_limit_stops_the_next_call_once_reached() -> None:
    meter = BudgetMeter(Budget(max_cost_usd=Decimal("0.5")))
    held = await meter.reserve(1)
    meter.settle(held, Spend(model_calls=1, cost_usd=Decimal("0.5")))
    with pytest.raises(BudgetExceededError, match="max_cost_usd"):
        await meter.reserve(1)


async def test_the_first_calls_together_do_not_pass_the_cost_limit() -> None:
    """Nothing was paid yet, so only the deployment's price tells what each may cost."""
    meter = BudgetMeter(Budget(max_cost_usd=10 * CENT))
    paid: list[Decimal] = []

    async def call() -> None:
        held = await meter.reserve(100, 4 * CENT)
        await asyncio.sleep(0)
        paid.append(4 * CENT)
        meter.settle(held, Spend(model_calls=1, cost_usd=4 * CENT))

    outcomes = await asyncio.gather(*(call() for _ in range(10)), return_exceptions=True)
    refused = [o for o in outcomes if isinstance(o, BudgetExceededError)]
    assert len(refused) == 7
    assert sum(paid) == 12 * CENT, "by no more than the one call that was alone"


async def test_a_call_waits_for_those_that_may_take_less_than_they_set_aside() -> None:
    meter = BudgetMeter(Budget(max_cost_usd=10 * CENT))
    first = await meter.reserve(100, 9 * CENT)
    second = asyncio.create_task(meter.reserve(100, 9 * CENT))
    await asyncio.sleep(0.01)
    assert not second.done()
    meter.settle(first, Spend(model_calls=1, cost_usd=CENT))
    assert await second == Held(100, 9 * CENT)


async def test_a_call_of_unknown_price_counts_at_what_tokens_have_cost() -> None:
    meter = BudgetMeter(Budget(max_cost_usd=10 * CENT))
    meter.add(Spend(model_calls=1, usage=TokenUsage(input_tokens=10), cost_usd=CENT))
    await meter.reserve(50)
    third = asyncio.create_task(meter.reserve(50))
    await asyncio.sleep(0.01)
    assert not third.done(), "5 + 5 cents on top of the one that is paid"
    third.cancel()


async def test_the_call_limit_counts_calls_under_way() -> None:
    meter = BudgetMeter(Budget(max_model_calls=2))
    await meter.reserve(1)
    await meter.reserve(1)
    with pytest.raises(BudgetExceededError, match="max_model_calls"):
        await meter.reserve(1)


async def test_wall_time_is_checked_before_a_call() -> None:
    clock = iter([0.0, 5.0, 11.0])
    meter = BudgetMeter(Budget(max_wall_seconds=10), now=lambda: next(clock))
    await meter.reserve(1)
    with pytest.raises(BudgetExceededError, match="max_wall_seconds"):
        await meter.reserve(1)


async def test_what_other_processes_worked_counts_as_wall_time() -> None:
    clock = iter([0.0, 1.0, 3.0])
    meter = BudgetMeter(Budget(max_wall_seconds=10), now=lambda: next(clock), wall_before=8.0)
    await meter.reserve(1)
    with pytest.raises(BudgetExceededError, match="max_wall_seconds"):
        await meter.reserve(1)


async def test_replayed_spend_counts_after_a_resume() -> None:
    meter = BudgetMeter(Budget(max_tokens=100))
    meter.add(Spend(model_calls=1, usage=TokenUsage(input_tokens=90)))
    with pytest.raises(BudgetExceededError):
        await meter.reserve(20)
