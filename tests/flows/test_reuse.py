"""Steps and answers that a later run uses again, in the real flow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from analytics.queries import totals
from analytics.reader import open_usage
from core.plan import Plan, PlanStep
from core.result import RunReport, StepReport
from tests.fakes.script import Answer, RecordedRequest, ScriptedCall
from tests.fakes.scripts import always, in_turn
from tests.flows.conftest import Stage

DAY = 86_400.0
WRITES = ScriptedCall("write_file", {"path": "out/report.txt", "content": "found: 42"})
ENDS = ScriptedCall("terminate", {"status": "success", "message": "done"})


def works(request: RecordedRequest) -> Answer:
    """An agent that writes a file and then ends."""
    turns = sum(m["role"] == "assistant" for m in request.messages)
    return Answer(tool_calls=(ENDS if turns else WRITES,))


def work(**more: Any) -> PlanStep:
    given: dict[str, Any] = {"cache_ttl_seconds": DAY, "instructions": "Find it."} | more
    return PlanStep(id="find", title="Find", **given)


READ = "output = open('../find/out/report.txt').read()"


def reads(**more: Any) -> PlanStep:
    args = {"code": READ}
    return PlanStep(
        id="read",
        title="Read",
        kind="tool",
        tool="python_execute",
        args=args,
        depends_on=("find",),
        **more,
    )


def plan(*steps: PlanStep) -> Plan:
    return Plan(title="A recurring job", steps=steps, summarize=False)


def step(report: RunReport, step_id: str) -> StepReport:
    return next(s for s in report.steps if s.step_id == step_id)


def priced(home: Path, extra: str = "") -> None:
    """Prices, so that there is money to save."""
    home.mkdir(parents=True, exist_ok=True)
    prices = "input_usd_per_million = 1000\noutput_usd_per_million = 1000\n"
    (home / "manus.toml").write_text(f"[providers.openai]\n{prices}{extra}", encoding="utf-8")


async def bars(flow_run_id: str, expected: set[str]) -> set[str]:
    """The names of the task runs, once they are there: they reach the server a moment later."""
    found: set[str] = set()
    async with get_client() as client:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))  # pyright: ignore[reportArgumentType]
        for _ in range(80):
            runs = await client.read_task_runs(flow_run_filter=wanted)
            found = {run.name for run in runs}
            if expected <= found:
                break
            await asyncio.sleep(0.25)
    return found


async def test_a_second_run_takes_the_step_over_with_its_files_and_asks_no_model(
    stage: Stage,
) -> None:
    priced(stage.home)
    stage.model.script = works
    _, first = await stage.run(plan(work(), reads()))
    asked = len(stage.model.requests)
    _, second = await stage.run(plan(work(), reads()))
    assert (asked, len(stage.model.requests)) == (2, 2)
    taken, done = step(second, "find"), step(first, "find")
    assert taken.result
    assert done.result
    assert taken.result.files == done.result.files
    copied = Path(second.directory) / "workspace/find/out/report.txt"
    assert copied.read_text(encoding="utf-8") == "found: 42"
    assert step(second, "read").result == step(first, "read").result
    origin = taken.result.reused_from
    assert origin
    assert (taken.reused, origin.run_key, taken.attempts) == (True, first.run_key, 1)
    assert not step(second, "read").reused
    assert first.spend.cost_usd > 0
    assert (second.spend.model_calls, second.spend.cost_usd) == (0, 0)
    report = (Path(second.directory) / "report.md").read_text(encoding="utf-8")
    assert f"(reused from run {first.run_key}, " in report
    with open_usage(stage.home) as usage:
        spend = totals(usage)
    assert (spend.cost_usd, spend.saved_usd) == (first.spend.cost_usd, first.spend.cost_usd)
    assert spend.cache_hits == 1
    assert "find (reused)" in await bars(second.run_key, {"find (reused)", "read"})


async def test_a_resume_of_the_run_that_reused_replays_that(stage: Stage) -> None:
    stage.model.script = works
    await stage.run(plan(work()))
    broken = reads()
    broken = broken.model_copy(update={"args": {"code": "raise SystemExit(open('../data/x'))"}})
    _, second = await stage.run(plan(work(), broken))
    assert second.status == "failed"
    for kept in (stage.home / "cache/steps").rglob("*.json"):
        kept.unlink()
    _, resumed = await stage.resume(second)
    taken = step(resumed, "find")
    assert taken.result
    assert taken.result == (step(second, "find").result)
    assert (taken.reused, taken.attempts) == (True, 1)
    assert len(stage.model.requests) == 2


async def test_a_reuse_cut_short_by_a_kill_is_finished_on_resume(stage: Stage) -> None:
    stage.model.script = works
    _, first = await stage.run(plan(work()))
    _, second = await stage.run(plan(work()))
    # As if it had died after the journal's line: neither a record nor the file is there.
    (stage.home / "results" / second.run_key / "find/a1/step").unlink()
    Path(second.directory, "workspace/find/out/report.txt").unlink()
    expire(stage.home)
    _, resumed = await stage.resume(second)
    taken = step(resumed, "find").result
    assert taken
    assert taken.reused_from
    assert taken.reused_from.run_key == first.run_key
    assert Path(second.directory, "workspace/find/out/report.txt").exists()
    assert len(stage.model.requests) == 2


def expire(home: Path) -> None:
    """Makes every kept step ten days older."""
    for kept in (home / "cache/steps").rglob("*.json"):
        content = json.loads(kept.read_text(encoding="utf-8"))
        content["completed_at"] = "2020-01-01T00:00:00Z"
        kept.write_text(json.dumps(content), encoding="utf-8")


async def _agent_prompt(stage: Stage) -> dict[str, Any]:
    folder = stage.home / "agents"
    folder.mkdir(parents=True)
    text = "---\nname: manus\ndescription: Does it.\ntools: [write_file]\n---\nBe brief.\n"
    (folder / "manus.md").write_text(text, encoding="utf-8")
    return {}


async def _route(stage: Stage) -> dict[str, Any]:
    route = '[routes.default]\ndeployments = ["openai:gpt-6-luna"]\n'
    (stage.home / "manus.toml").write_text(route, encoding="utf-8")
    return {}


async def _namespace(stage: Stage) -> dict[str, Any]:
    text = '[cache]\nnamespace = "second"\n'
    (stage.home / "manus.toml").write_text(text, encoding="utf-8")
    return {}


async def _text(stage: Stage) -> dict[str, Any]:
    return {"instructions": "Find it again."}


async def _tools(stage: Stage) -> dict[str, Any]:
    return {"tools": ("write_file",)}


async def _expired(stage: Stage) -> dict[str, Any]:
    expire(stage.home)
    return {}


async def _file_gone(stage: Stage) -> dict[str, Any]:
    for kept in (stage.home / "cache/files").glob("*/*"):
        kept.unlink()
    return {}


async def _file_damaged(stage: Stage) -> dict[str, Any]:
    for kept in (stage.home / "cache/files").glob("*/*"):
        kept.write_bytes(b"another")
    return {}


async def _entry_damaged(stage: Stage) -> dict[str, Any]:
    for kept in (stage.home / "cache/steps").rglob("*.json"):
        kept.write_bytes(kept.read_bytes()[:40])
    return {}


CHANGES: dict[str, Callable[[Stage], Awaitable[dict[str, Any]]]] = {
    "another prompt": _agent_prompt,
    "another model": _route,
    "another namespace": _namespace,
    "another text": _text,
    "other tools": _tools,
    "expired": _expired,
    "a file is gone": _file_gone,
    "a file is damaged": _file_damaged,
    "the entry is damaged": _entry_damaged,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_step_that_is_not_the_same_or_not_there_runs_again(
    stage: Stage, change: Callable[[Stage], Awaitable[dict[str, Any]]]
) -> None:
    stage.model.script = works
    await stage.run(plan(work()))
    more = await change(stage)
    _, second = await stage.run(plan(work(**more)))
    assert len(stage.model.requests) == 4
    assert not step(second, "find").reused
    _, third = await stage.run(plan(work(**more)))
    assert len(stage.model.requests) == 4, "the new run is kept in its place"
    assert step(third, "find").reused


async def test_limits_of_a_step_may_change_and_its_inputs_may_not(
    stage: Stage, tmp_path: Path
) -> None:
    stage.model.script = works
    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n", encoding="utf-8")
    await stage.run(plan(work()), inputs=(str(data),))
    other_limits = work(timeout_seconds=60, retries=3, cache_ttl_seconds=2 * DAY)
    await stage.run(plan(other_limits), inputs=(str(data),))
    assert len(stage.model.requests) == 2
    data.write_text("a,b\n1,3\n", encoding="utf-8")
    await stage.run(plan(work()), inputs=(str(data),))
    assert len(stage.model.requests) == 4


async def test_a_failed_step_is_never_kept_and_one_without_a_time_to_live_neither(
    stage: Stage,
) -> None:
    fails = ScriptedCall("terminate", {"status": "failure", "message": "no"})
    stage.model.script = always(Answer(tool_calls=(fails,)))
    await stage.run(plan(work()))
    stage.model.script = works
    await stage.run(plan(work(cache_ttl_seconds=None)))
    assert not list((stage.home / "cache").rglob("*.json"))


async def test_a_cached_route_answers_a_second_run_for_nothing(stage: Stage) -> None:
    route = '[routes.default]\ndeployments = ["openai"]\ncache_ttl_seconds = 3600\n'
    priced(stage.home, route)
    stage.model.script = works
    _, first = await stage.run(plan(work(cache_ttl_seconds=None)), budget={"max_model_calls": 2})
    _, second = await stage.run(plan(work(cache_ttl_seconds=None)), budget={"max_model_calls": 2})
    assert len(stage.model.requests) == 2
    assert (first.spend.model_calls, second.spend.model_calls) == (2, 0)
    assert second.spend.cost_usd == 0
    assert first.spend.cost_usd > 0
    hits = [r for r in stage.rows(second) if r.kind == "model_call"]
    assert [r.cache_hit for r in hits] == [True, True]
    assert sum((r.cost_usd or Decimal(0) for r in hits), Decimal(0)) == first.spend.cost_usd
    with open_usage(stage.home) as usage:
        spend = totals(usage)
    assert (spend.saved_usd, spend.cache_hits) == (first.spend.cost_usd, 2)


async def test_a_further_attempt_asks_anew_instead_of_repeating_what_failed(
    stage: Stage,
) -> None:
    route = '[routes.default]\ndeployments = ["openai"]\ncache_ttl_seconds = 3600\n'
    priced(stage.home, route)
    fails = ScriptedCall("terminate", {"status": "failure", "message": "no"})
    stage.model.script = in_turn([Answer(tool_calls=(c,)) for c in (fails, ENDS)])
    _, first = await stage.run(plan(work(cache_ttl_seconds=None, retries=1)))
    assert (first.status, step(first, "find").attempts) == ("completed", 2)
    _, second = await stage.run(plan(work(cache_ttl_seconds=None)))
    assert (second.status, step(second, "find").attempts) == ("completed", 1)
    assert len(stage.model.requests) == 2, "what succeeded has replaced what failed"
