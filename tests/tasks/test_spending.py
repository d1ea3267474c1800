"""Budgets of a day and of a tag: never passed by more than one call, whoever spends and dies."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from analytics.spool import SpoolWriter
from core.completion import TokenUsage
from core.errors import BudgetExceededError
from core.ports import CallEstimate
from core.result import Spend
from core.usage import BudgetSettings, SpendLimit, UsageEvent
from tasks.spending import SpendingLedger
from tests.fakes.threaded import serve_in_thread
from tests.tasks.spending_process import LIMIT_USD, PROCESSES, answer_with_usage

ROOT = Path(__file__).parents[2]
CENT = Decimal("0.01")
DIME = BudgetSettings(day=SpendLimit(max_cost_usd=10 * CENT))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def estimate(cost: Decimal | None, tokens: int = 100) -> CallEstimate:
    return CallEstimate(input_tokens=tokens, output_tokens=0, cost_usd=cost)


def took(cost: Decimal, tokens: int = 100) -> Spend:
    return Spend(model_calls=1, usage=TokenUsage(input_tokens=tokens), cost_usd=cost)


async def spend(ledger: SpendingLedger, cost: Decimal, *tags: str, tokens: int = 100) -> None:
    name = await ledger.reserve(estimate(cost, tokens), tags)
    await ledger.settle(name, took(cost, tokens), tags)


def test_four_processes_stay_within_a_tag_s_budget_but_for_one_call(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.tasks.spending_process", str(tmp_path)]
    with serve_in_thread(answer_with_usage, latency_seconds=0.02) as server:
        processes = [
            Popen([*command, server.openai_url], cwd=ROOT, stdout=PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        ended = [json.loads(process.communicate(timeout=100)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    spent = sum(Decimal(one["spent"]) for one in ended)
    one_call = Decimal(ended[0]["estimate"])
    assert LIMIT_USD <= spent <= LIMIT_USD + one_call
    for one in ended:
        assert one["said"].startswith(f"budget: budgets.tags.team.max_cost_usd = {LIMIT_USD}")
        assert "it begins anew at" in one["said"]


async def test_the_error_names_the_limit_what_is_spent_and_when_it_begins_anew(
    tmp_path: Path,
) -> None:
    berlin = DIME.model_copy(update={"timezone": "Europe/Berlin"})
    ledger = SpendingLedger(tmp_path, berlin, lambda: NOON)
    await spend(ledger, 11 * CENT)
    with pytest.raises(BudgetExceededError) as raised:
        await ledger.reserve(estimate(CENT), ())
    assert raised.value.message == (
        "budget: budgets.day.max_cost_usd = 0.10 is reached: 0.11 USD spent today; "
        "it begins anew at 2026-11-23T00:00+01:00"
    )


async def test_a_new_day_begins_with_nothing_spent(tmp_path: Path) -> None:
    now = [NOON]
    ledger = SpendingLedger(tmp_path, DIME, lambda: now[0])
    await spend(ledger, 10 * CENT)
    now[0] = NOON + timedelta(hours=13)
    await spend(ledger, 10 * CENT)
    with pytest.raises(BudgetExceededError):
        await ledger.reserve(estimate(CENT), ())


async def test_tokens_are_limited_too(tmp_path: Path) -> None:
    limit = BudgetSettings(day=SpendLimit(max_tokens=150))
    ledger = SpendingLedger(tmp_path, limit, lambda: NOON)
    await spend(ledger, CENT, tokens=100)
    await spend(ledger, CENT, tokens=100)
    with pytest.raises(BudgetExceededError, match="max_tokens = 150 is reached: 200 tokens"):
        await ledger.reserve(estimate(CENT), ())


async def test_a_call_waits_while_what_is_set_aside_may_come_back(tmp_path: Path) -> None:
    one = SpendingLedger(tmp_path, DIME, lambda: NOON)
    other = SpendingLedger(tmp_path, DIME, lambda: NOON)
    first = await one.reserve(estimate(9 * CENT), ())
    second = asyncio.create_task(other.reserve(estimate(9 * CENT), ()))
    await asyncio.sleep(0.2)
    assert not second.done()
    await one.settle(first, Spend(), ())
    await second
    (line,) = await other.look()
    assert (line.spent, line.set_aside, line.left) == (0, 9 * CENT, CENT)


async def test_what_the_dead_have_set_aside_is_dropped(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.tasks.test_spending import *\n"
        "ledger = SpendingLedger(Path(sys.argv[1]), DIME, lambda: NOON)\n"
        "asyncio.run(ledger.reserve(estimate(9 * CENT), ()))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, tmp_path, cwd=ROOT)
    assert await process.wait() == -9
    assert "held" in (tmp_path / "budgets" / "ledger.json").read_text()
    ledger = SpendingLedger(tmp_path, DIME, lambda: NOON)
    await asyncio.wait_for(ledger.reserve(estimate(9 * CENT), ()), timeout=30)
    assert len(os.listdir(tmp_path / "budgets" / "holders")) == 1


@pytest.mark.parametrize("damage", ["missing", "torn"])
async def test_the_ledger_is_made_anew_from_the_usage_rows(tmp_path: Path, damage: str) -> None:
    sink = SpoolWriter(tmp_path / "spool")
    for number, (ts, tags) in enumerate(
        [(NOON, ("team",)), (NOON, ()), (NOON - timedelta(days=1), ("team",))]
    ):
        row = UsageEvent(
            event_id=str(number),
            ts=ts,
            kind="model_call",
            run_key="r",
            operation_name="chat",
            input_tokens=100,
            cost_usd=4 * CENT,
            tags=tags,
        )
        sink.emit(row)
    limits = DIME.model_copy(update={"tags": {"team": SpendLimit(max_tokens=1000)}})
    ledger = SpendingLedger(tmp_path, limits, lambda: NOON)
    if damage == "torn":
        await ledger.look()
        (tmp_path / "budgets" / "ledger.json").write_text('{"day": "2026-11')
    day, team = await ledger.look()
    assert (day.limit, day.spent) == ("budgets.day.max_cost_usd", 8 * CENT)
    assert (team.limit, team.spent) == ("budgets.tags.team.max_tokens", 100)
    sink.seal()


async def test_other_tags_and_calls_of_unknown_price_are_not_held_back(tmp_path: Path) -> None:
    limits = BudgetSettings(tags={"team": SpendLimit(max_cost_usd=CENT)})
    ledger = SpendingLedger(tmp_path, limits, lambda: NOON)
    await spend(ledger, CENT, "team")
    with pytest.raises(BudgetExceededError, match=r"budgets\.tags\.team"):
        await ledger.reserve(estimate(None), ("team",))
    await spend(ledger, CENT, "other")
