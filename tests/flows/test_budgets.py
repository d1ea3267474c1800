"""Limits that hold over runs, and what a run's rows say of calls that were given up."""

from __future__ import annotations

import json

import pytest

from core.usage import Budget
from tests.conftest import PrefectServer
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, RecordedRequest, ScriptedUsage
from tests.fakes.scripts import always
from tests.flows.conftest import Stage
from tests.flows.test_cli import Command
from tests.flows.test_planning import agent, plan

BUDGETS = """
[budgets.day]
max_tokens = 5000

[budgets.tags.nightly]
max_tokens = 3000
"""


@pytest.fixture
def manus(stage: Stage, prefect_server: PrefectServer) -> Command:
    return Command(stage, prefect_server)


def costly(request: RecordedRequest) -> Answer:
    """An answer that takes 3,000 tokens."""
    return Answer(text="done", usage=ScriptedUsage(input=2_900, output=100))


async def test_a_days_budget_stops_the_next_run_which_says_so_and_can_go_on(
    stage: Stage, manus: Command
) -> None:
    stage.home.mkdir()
    (stage.home / "manus.toml").write_text(BUDGETS, encoding="utf-8")
    stage.model.script = costly
    work = plan(agent("a"), agent("b", depends_on=("a",)), agent("c", depends_on=("b",)))
    code, _, err = await manus("run", manus.plan_file(work))
    assert code == 4, err
    assert len(stage.model.requests) == 2
    code, out, _ = await manus("usage", "--budget", "--json")
    assert code == 0
    (day, tag) = json.loads(out)["budgets"]
    assert (day["limit"], day["spent"]) == ("budgets.day.max_tokens", "6000")
    assert (tag["limit"], tag["spent"]) == ("budgets.tags.nightly.max_tokens", "0")
    more = BUDGETS.replace("5000", "50000")
    (stage.home / "manus.toml").write_text(more, encoding="utf-8")
    run_key = err.partition("run ")[2].split()[0]
    code, _, err = await manus("resume", run_key)
    assert code == 0, err
    assert len(stage.model.requests) == 3


async def test_a_tags_budget_counts_only_the_runs_that_carry_it(stage: Stage) -> None:
    stage.home.mkdir()
    (stage.home / "manus.toml").write_text(BUDGETS, encoding="utf-8")
    stage.model.script = costly
    work = plan(agent("a"))
    _, first = await stage.run(work, tags=("nightly",))
    _, second = await stage.run(work, tags=("nightly",))
    assert first.status == "completed"
    assert second.status == "over_budget"
    assert "budgets.tags.nightly" in (second.steps[0].reason or "")
    assert len(stage.model.requests) == 1


async def test_wall_time_counts_over_resumes(stage: Stage) -> None:
    def script(request: RecordedRequest) -> Answer:
        return Answer(text="done", latency_seconds=1.5)

    stage.model.script = script
    work = plan(agent("a"), agent("b", depends_on=("a",)))
    limit = Budget(max_wall_seconds=1)
    _, report = await stage.run(work, budget=limit)
    assert report.status == "over_budget"
    asked = len(stage.model.requests)
    _, again = await stage.resume(report)
    assert again.status == "over_budget"
    assert len(stage.model.requests) == asked
    assert "max_wall_seconds" in (again.steps[-1].reason or "")


HEDGED = """
[providers.slow]
kind = "openai"
api_key = "a"
base_url = "{slow}"
model = "gpt-slow"

[providers.quick]
kind = "openai"
api_key = "b"
base_url = "{quick}"
model = "gpt-quick"

[routes.default]
deployments = ["slow", "quick"]
hedge_after_seconds = 0.2
"""


async def test_a_call_that_was_given_up_for_a_quicker_one_leaves_its_own_row_of_unknown_cost(
    stage: Stage, manus: Command
) -> None:
    stage.home.mkdir()
    async with FakeModelServer(always(Answer(text="late", latency_seconds=20))) as slow:
        config = HEDGED.format(slow=slow.openai_url, quick=stage.model.openai_url)
        (stage.home / "manus.toml").write_text(config, encoding="utf-8")
        _, report = await stage.run(plan(agent("a")))
    assert report.status == "completed"
    rows = {r.deployment: r for r in stage.rows(report) if r.kind == "model_call"}
    given_up, answered = rows["slow:gpt-slow"], rows["quick:gpt-quick"]
    assert (given_up.outcome, given_up.error_type) == ("interrupted", "HedgedAway")
    assert given_up.cost_usd is None
    assert answered.outcome == "ok"
    assert given_up.try_index != answered.try_index
    code, out, _ = await manus("usage", "--json")
    assert code == 0
    assert "HedgedAway" in out or '"unpriced_calls"' in out or "unknown" in out
