"""``plan_and_run`` as its callers see it."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import Any

import pytest

from analytics.reader import open_usage
from core.errors import RunFailedError
from core.plan import Plan, PlanStep
from core.result import StepStatus
from core.usage import Budget
from flows.planning import plan_and_run
from tests.fakes import diamond
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall
from tests.fakes.scripts import in_turn
from tests.flows.conftest import Stage, artifact_keys, graph_edges


def code(step_id: str, source: str = "output = 1", **more: Any) -> PlanStep:
    args = {"code": source, "inputs": more.pop("inputs", {})}
    return PlanStep(
        id=step_id, title=step_id, kind="tool", tool="python_execute", args=args, **more
    )


def agent(step_id: str, **more: Any) -> PlanStep:
    return PlanStep(id=step_id, title=step_id, instructions=f"Do the work of {step_id}.", **more)


def plan(*steps: PlanStep, summarize: bool = False, **more: Any) -> Plan:
    return Plan(title="A plan", steps=steps, summarize=summarize, **more)


def ends(status: str, message: str = "because") -> Answer:
    return Answer(tool_calls=(ScriptedCall("terminate", {"status": status, "message": message}),))


async def eventually_edges(flow_run_id: str, expected: set[tuple[str, str]]) -> set[Any]:
    """Task runs reach the server a moment after the flow ended."""
    found: set[tuple[str, str]] = set()
    for _ in range(40):
        found = {e for e in await graph_edges(flow_run_id) if e[0] != "draft-plan"}
        found = {e for e in found if e[1] != "summarize"}
        if found == expected:
            break
        await asyncio.sleep(0.25)
    return found


async def test_a_goal_is_planned_run_and_summarised_and_the_graph_has_the_plans_edges(
    stage: Stage,
) -> None:
    stage.model.script = diamond.script
    state, report = await stage.run(goal="A diamond of 10 steps")
    assert state.is_completed()
    assert report.counts[StepStatus.COMPLETED] == 10
    assert report.summary == "All steps are done."
    drawn = {
        (need, step["id"]) for step in diamond.plan(10)["steps"] for need in step["depends_on"]
    }
    assert await eventually_edges(report.run_key, drawn) == drawn
    assert await artifact_keys(report.run_key) == {"plan", "result", "usage", "files"}
    rows = stage.rows(report)
    assert len(rows) == 22 + 10
    assert {r.outcome for r in rows} == {"ok"}
    assert report.spend.model_calls == 22
    assert report.spend.tool_calls == 10


async def test_an_invalid_draft_goes_back_to_the_model_with_the_error(stage: Stage) -> None:
    wrong = diamond.plan(3)
    wrong["steps"][0]["agent"] = "nobody"
    drafts = in_turn([Answer(tool_calls=(ScriptedCall("create_plan", wrong),))])

    def script(request: RecordedRequest) -> Answer | Fault:
        return drafts(request) if request.index == 0 else diamond.script(request)

    stage.model.script = script
    _, report = await stage.run(goal="A diamond of 3 steps")
    assert report.status == "completed"
    assert "unknown agent 'nobody'" in stage.model.requests[1].last_text


async def test_a_model_that_cannot_plan_fails_the_run_without_an_invented_plan(
    stage: Stage,
) -> None:
    with pytest.raises(Exception, match="no usable plan in 3 tries"):
        await stage.run(goal="anything")
    assert len(stage.model.requests) == 3


async def test_results_flow_between_steps_by_template_and_by_file(stage: Stage) -> None:
    _, report = await stage.run(
        plan(
            code("a", "open('f.txt', 'w').write('from a'); output = {'rows': [1, 2]}"),
            code(
                "b",
                "output = [sum(inputs['rows']) + inputs['x'], open('../a/f.txt').read()]",
                inputs={"rows": "{{ steps.a.output.rows }}", "x": "{{ vars.x }}"},
                depends_on=("a",),
            ),
            vars={"x": 4},
        )
    )
    assert report.steps[1].result
    assert report.steps[1].result.output == [7, "from a"]


async def test_a_plan_whose_every_step_raises_ends_failed_with_each_reason(stage: Stage) -> None:
    state, report = await stage.run(
        plan(code("a", "raise ValueError('first')"), code("b", "raise ValueError('second')"))
    )
    assert state.is_failed()
    assert "2 failed" in (state.message or "")
    assert "first" in (state.message or "")
    assert "second" in (state.message or "")
    assert {s.status for s in report.steps} == {StepStatus.FAILED}


async def test_awaiting_a_failed_run_raises_and_the_error_has_the_report(stage: Stage) -> None:
    with pytest.raises(RunFailedError, match="1 failed") as caught:
        await plan_and_run(plan=plan(code("a", "raise SystemExit(1)")))
    assert caught.value.details["report"].status == "failed"


async def test_a_failing_branch_skips_what_depends_on_it_and_nothing_else(stage: Stage) -> None:
    state, report = await stage.run(
        plan(
            code("bad", "raise ValueError('no')"),
            code("below", depends_on=("bad",)),
            code("further", depends_on=("below",)),
            code("good"),
            code("after", depends_on=("good",)),
        )
    )
    assert [s.status.value for s in report.steps] == [
        *("failed", "skipped", "skipped"),
        *("completed", "completed"),
    ]
    assert state.is_failed()
    assert (state.message or "").startswith("1 failed, 2 skipped, 2 completed")
    edges = {("bad", "below"), ("below", "further"), ("good", "after")}
    assert await eventually_edges(report.run_key, edges) == edges


async def test_after_the_cause_is_gone_a_resume_executes_the_failed_and_the_skipped_only(
    stage: Stage,
) -> None:
    broken = [True]

    def script(request: RecordedRequest) -> Answer:
        bad = broken[0] and "work of bad" in request.text
        return ends("failure" if bad else "success")

    stage.model.script = script
    work = plan(agent("fine"), agent("bad"), agent("below", depends_on=("bad",)), code("tool"))
    state, report = await stage.run(work)
    assert state.is_failed()
    assert [s.status.value for s in report.steps] == ["completed", "failed", "skipped", "completed"]
    broken[0] = False
    asked = len(stage.model.requests)
    state, report = await stage.resume(report)
    assert state.is_completed(), state.message
    again = [r.text for r in stage.model.requests[asked:]]
    assert len(again) == 2
    assert "work of bad" in again[0]
    assert "work of below" in again[1]
    assert [s.reused for s in report.steps] == [True, False, False, True]
    assert report.steps[1].attempts == 2


async def test_an_agent_that_reports_failure_is_tried_again_as_a_new_attempt(stage: Stage) -> None:
    stage.model.script = in_turn([ends("failure"), ends("success", "at last")])
    _, report = await stage.run(plan(agent("a", retries=1)))
    assert report.status == "completed"
    assert report.steps[0].attempts == 2


async def test_an_agent_out_of_turns_is_blocked(stage: Stage) -> None:
    def script(request: RecordedRequest) -> Answer:
        code = {"code": f"print({request.index})"}
        return Answer(tool_calls=(ScriptedCall("python_execute", code),))

    stage.model.script = script
    _, report = await stage.run(plan(agent("a", max_turns=2)))
    assert report.steps[0].status is StepStatus.BLOCKED
    assert report.steps[0].reason == "not done after 2 turns"


async def test_a_failed_optional_step_neither_fails_the_run_nor_skips_its_dependants(
    stage: Stage,
) -> None:
    bad = code("bad", "raise ValueError('no')", optional=True)
    _, report = await stage.run(plan(bad, code("below", depends_on=("bad",))))
    assert report.status == "completed"
    assert [s.status.value for s in report.steps] == ["failed", "completed"]


async def test_a_failed_tool_does_not_keep_its_step_from_being_committed(stage: Stage) -> None:
    def script(request: RecordedRequest) -> Answer:
        if request.messages[-1]["role"] == "tool":
            return ends("success")
        return Answer(tool_calls=(ScriptedCall("python_execute", {"code": "1/0"}),))

    stage.model.script = script
    _, report = await stage.run(plan(agent("a"), code("bad", "raise ValueError", optional=True)))
    assert report.status == "completed"
    asked = len(stage.model.requests)
    _, again = await stage.resume(report)
    assert again.steps[0].reused
    assert len(stage.model.requests) == asked
    failed = [r for r in stage.rows(report) if r.tool_name and r.outcome == "error"]
    assert {r.step_id for r in failed} == {"a", "bad"}


async def test_a_step_past_its_deadline_fails_and_its_tool_is_stopped(stage: Stage) -> None:
    _, report = await stage.run(plan(code("a", "import time; time.sleep(60)", timeout_seconds=1.5)))
    assert report.steps[0].status is StepStatus.FAILED
    assert report.steps[0].duration_seconds < 20


async def test_at_the_budget_the_run_stops_says_so_and_goes_on_with_more(stage: Stage) -> None:
    stage.model.script = diamond.script
    small = Budget(max_model_calls=4)
    state, report = await stage.run(goal="A diamond of 4 steps", budget=small)
    assert state.is_failed()
    assert report.status == "over_budget"
    assert "max_model_calls = 4" in (state.message or "")
    asked = len(stage.model.requests)
    assert asked == 4
    more = Budget(max_cost_usd=Decimal(10))
    state, report = await stage.resume(report, budget=more)
    assert report.status == "completed"
    assert len(stage.model.requests) == 10


async def test_an_outage_keeps_the_attempt_and_asks_only_for_what_is_missing(stage: Stage) -> None:
    down = [True]

    def script(request: RecordedRequest) -> Answer | Fault:
        second = request.messages[-1]["role"] == "tool"
        return Fault(status=500) if second and down[0] else diamond.script(request)

    stage.model.script = script
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
        state, report = await stage.run(plan(agent("s001")))
    assert state.is_failed()
    down[0] = False
    asked = len(stage.model.requests)
    _, report = await stage.resume(report)
    assert report.status == "completed"
    assert report.steps[0].attempts == 1
    assert len(stage.model.requests) == asked + 1


async def test_a_record_of_another_question_makes_a_new_attempt_and_is_never_replayed(
    stage: Stage,
) -> None:
    stage.model.script = in_turn([diamond_call(), Fault(status=500), ends("success")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
        _, report = await stage.run(plan(agent("s001")))
    assert report.status == "failed"
    (record,) = (stage.home / "results" / report.run_key / "s001").rglob("t001-model")
    text = record.read_text(encoding="utf-8")
    asked = re.search(r'request_hash\\":\s*\\"([0-9a-f]{64})', text)
    assert asked, text[:300]
    record.write_text(text.replace(asked[1], "0" * 64), encoding="utf-8")
    _, report = await stage.resume(report)
    assert report.status == "completed"
    assert report.steps[0].attempts == 2


def diamond_call() -> Answer:
    return Answer(tool_calls=(ScriptedCall("python_execute", {"code": "print(1)"}),))


async def test_every_step_and_every_run_leaves_a_row_however_it_ended(stage: Stage) -> None:
    _, report = await stage.run(plan(code("good"), code("bad", "raise ValueError")))
    with open_usage(stage.home) as usage:
        found = usage.rows(
            "SELECT kind, step_id, outcome, error_type FROM usage_event "
            "WHERE kind IN ('step', 'run') AND run_key = $key ORDER BY ALL",
            {"key": report.run_key},
        )
    assert found == [
        ("run", None, "error", "RunFailedError"),
        ("step", "bad", "error", "StepFailedError"),
        ("step", "good", "ok", None),
    ]
