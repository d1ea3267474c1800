"""What was spent stays known: over resumes, retries in place, deadlines and failing disks."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from core.completion import CompletionRequest
from core.message import user
from core.plan import Plan, PlanStep
from core.result import StepStatus
from core.usage import Budget, UsageEvent
from tasks.services import open_services, using
from tests.fakes import diamond
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall
from tests.fakes.scripts import always
from tests.flows.conftest import Stage
from tools.base import BaseTool, ToolResult, object_schema


def agent(step_id: str, **more: object) -> PlanStep:
    values = {"id": step_id, "title": step_id, "instructions": f"Do the work of {step_id}."}
    return PlanStep.model_validate({**values, **more})


def plan(*steps: PlanStep, summarize: bool = False) -> Plan:
    return Plan(title="A plan", steps=steps, summarize=summarize)


def ends(status: str) -> Answer:
    return Answer(tool_calls=(ScriptedCall("terminate", {"status": status, "message": "said"}),))


async def test_a_resumed_run_still_counts_what_its_finished_steps_have_spent(stage: Stage) -> None:
    broken = [True]

    def script(request: RecordedRequest) -> Answer:
        return ends("failure" if broken[0] and "work of bad" in request.text else "success")

    stage.model.script = script
    work = plan(agent("fine"), agent("bad", depends_on=("fine",)))
    _, report = await stage.run(work)
    assert report.spend.model_calls == 2
    broken[0] = False
    _, report = await stage.resume(report)
    assert report.spend.model_calls == len(stage.model.requests) == 3


async def test_tool_calls_of_failed_attempts_count_too(stage: Stage) -> None:
    def tool(step_id: str, source: str) -> PlanStep:
        args = {"code": source}
        return agent(step_id, kind="tool", tool="python_execute", args=args, instructions="")

    _, report = await stage.run(plan(tool("fine", "output = 1"), tool("bad", "1/0")))
    assert report.spend.tool_calls == 2
    _, report = await stage.resume(report)
    assert report.spend.tool_calls == 3


class Thinks(BaseTool):
    """Asks a model."""

    name = "thinks"
    description = "Thinks."
    parameters = object_schema()

    async def execute(self) -> ToolResult:
        assert self.context.model
        answer = await self.context.model.ask(CompletionRequest(messages=(user("Well?"),)))
        return self.success_response(answer.text)


async def test_a_budget_spent_within_a_tool_stops_the_step_and_is_no_answer_of_the_tool(
    stage: Stage,
) -> None:
    stage.tools.append(Thinks())
    thinks = PlanStep(id="b", title="b", kind="tool", tool="thinks", on_unknown="rerun")
    say = agent("a", kind="completion")
    work = plan(say, thinks.model_copy(update={"depends_on": ("a",)}))
    _, report = await stage.run(work, budget=Budget(max_model_calls=1))
    assert report.status == "over_budget"
    _, report = await stage.resume(report, budget=Budget(max_model_calls=2))
    assert report.status == "completed"
    assert report.steps[1].attempts == 1
    assert len(stage.model.requests) == 2


async def test_a_budget_is_not_given_anew_by_a_resume(stage: Stage) -> None:
    def script(request: RecordedRequest) -> Answer:
        return ends("failure" if "work of b" in request.text else "success")

    stage.model.script = script
    _, report = await stage.run(plan(agent("a"), agent("b")), budget=Budget(max_model_calls=2))
    assert report.status == "failed"
    _, report = await stage.resume(report)
    assert report.status == "over_budget"
    assert len(stage.model.requests) == 2


async def test_calls_replayed_by_a_retry_in_place_are_counted_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUS_RUN__RETRY_DELAY_SECONDS", "0")
    failures = [1]

    def script(request: RecordedRequest) -> Answer | Fault:
        if request.messages[-1]["role"] == "tool" and failures:
            failures.pop()
            return Fault(kind="invalid_json")
        return diamond.script(request)

    stage.model.script = script
    _, report = await stage.run(plan(agent("s001")))
    assert report.status == "completed"
    assert len(stage.model.requests) == 3
    assert report.spend.model_calls == 2


async def test_a_call_cut_off_by_its_steps_deadline_leaves_a_row(stage: Stage) -> None:
    stage.model.script = always(Answer(text="late", latency_seconds=30))
    _, report = await stage.run(plan(agent("a", timeout_seconds=1)))
    assert report.steps[0].status is StepStatus.FAILED
    assert [r.outcome for r in stage.rows(report) if r.kind == "model_call"] == ["interrupted"]


async def test_a_tool_cut_off_by_its_steps_deadline_leaves_a_row(stage: Stage) -> None:
    step = PlanStep(
        id="a",
        title="a",
        kind="tool",
        tool="python_execute",
        args={"code": "import time; time.sleep(60)"},
        timeout_seconds=1,
    )
    _, report = await stage.run(plan(step))
    assert [r.outcome for r in stage.rows(report) if r.kind == "tool_run"] == ["interrupted"]


async def test_a_failure_leaves_no_file_outside_its_runs_records(stage: Stage) -> None:
    args = {"code": "1/0"}
    step = PlanStep(id="a", title="a", kind="tool", tool="python_execute", args=args)
    _, report = await stage.run(plan(step))
    assert [p.name for p in (stage.home / "results").iterdir()] == [report.run_key]


class FullDisk:
    """A sink that cannot write its first row of a model call."""

    def __init__(self) -> None:
        self.rows: list[UsageEvent] = []
        self.full = True

    def emit(self, event: UsageEvent) -> None:
        if self.full and event.kind == "model_call" and event.turn == 2:
            raise OSError(28, "No space left on device")
        self.rows.append(event)


async def test_a_full_disk_is_no_reason_to_pay_a_steps_calls_again(stage: Stage) -> None:
    stage.model.script = diamond.script
    sink = FullDisk()
    async with open_services() as services:
        with using(replace(services, sink=sink)):
            _, report = await stage.run(plan(agent("s001")))
            assert report.status == "failed"
            sink.full = False
            _, report = await stage.resume(report)
    assert report.status == "completed"
    assert len(stage.model.requests) == 2
    assert Counter(r.turn for r in sink.rows if r.kind == "model_call")[2] >= 1


async def test_a_failed_draft_is_made_anew_on_resume(stage: Stage) -> None:
    stage.model.script = always(Answer(text="no plan"))
    with pytest.raises(Exception, match="no usable plan"):
        await stage.run(goal="A diamond of 3 steps")
    (run,) = (stage.home / "runs").iterdir()
    stage.model.script = diamond.script
    _, report = await stage.run(resume_from=run.name)
    assert report.status == "completed"


@pytest.mark.parametrize("step_id", ["summarize", "draft-plan"])
async def test_a_step_may_be_named_like_the_runs_own_work(stage: Stage, step_id: str) -> None:
    def script(request: RecordedRequest) -> Answer:
        if "create_plan" in request.tool_names:
            drafted = diamond.plan(1)
            drafted["steps"][0]["id"] = step_id
            return Answer(tool_calls=(ScriptedCall("create_plan", drafted),))
        return ends("success") if request.tool_names else Answer(text="by the model")

    stage.model.script = script
    _, report = await stage.run(goal="anything")
    assert (report.status, report.summary) == ("completed", "by the model")


async def test_a_tool_that_may_not_run_again_is_not_run_again_by_a_retry(stage: Stage) -> None:
    source = "import time; open('ran.log', 'a').write('ran'); time.sleep(60)"
    step = PlanStep(
        id="a",
        title="a",
        kind="tool",
        tool="python_execute",
        args={"code": source},
        on_unknown="fail",
        retries=1,
    )
    async with open_services() as services:
        with using(services):
            running = asyncio.create_task(stage.run(plan(step)))
            log = await _eventually(stage, "*/workspace/a/ran.log")
            services.cancel_requested.set()
            await asyncio.gather(running, return_exceptions=True)
    _, report = await stage.run(resume_from=log.parents[2].name)
    assert report.status == "failed"
    assert "whether it took effect is unknown" in (report.steps[0].reason or "")
    assert log.read_text(encoding="utf-8") == "ran"


async def _eventually(stage: Stage, pattern: str) -> Path:
    async with asyncio.timeout(30):
        while True:
            if found := list((stage.home / "runs").glob(pattern)):
                return found[0]
            await asyncio.sleep(0.05)
