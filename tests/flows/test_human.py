"""Questions to a person and approvals, asked of the real server and answered through it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import EnvironmentUnusableError
from core.plan import Plan, PlanStep
from core.result import RunReport, StepStatus
from core.run import ApprovalPolicy
from gateway.questions import OpenQuestion, answer, open_questions
from tasks.draft import to_yaml
from tests.conftest import PrefectServer
from tests.fakes.script import Answer, RecordedRequest, ScriptedCall
from tests.flows.conftest import Stage
from tests.flows.test_planning import agent, code, ends, plan
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema


async def waiting(count: int = 1) -> tuple[OpenQuestion, ...]:
    """The open questions, once there are so many."""
    async with asyncio.timeout(60):
        # What is waited for is on the server.
        while len(found := await open_questions()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return found


def asks(question: str, **more: Any) -> Answer:
    return Answer(tool_calls=(ScriptedCall("ask_human", {"inquire": question, **more}),))


def then_ends(first: Callable[[RecordedRequest], Answer]) -> Callable[[RecordedRequest], Answer]:
    """Calls ``first`` for the first turn of a step, and ends it with what the tool answered."""

    def script(request: RecordedRequest) -> Answer:
        if request.messages[-1]["role"] != "tool":
            return first(request)
        return ends("success", request.last_text)

    return script


async def test_two_branches_ask_at_once_and_each_gets_its_own_answer(stage: Stage) -> None:
    def first(request: RecordedRequest) -> Answer:
        if "work of a" in request.text:
            return asks("Left or right?", choices=["left", "right"])
        return asks("Why?")

    stage.model.script = then_ends(first)
    running = asyncio.create_task(stage.run(plan(asker("a"), asker("b"))))
    answered: set[str] = set()
    while len(answered) < 2:
        (question,) = await waiting()
        if question.text not in answered:
            await answer(question.run_key[:8], "left" if question.choices else "because")
            answered.add(question.text)
    state, report = await running
    assert state.is_completed(), state.message
    said = {s.step_id: s.result.summary for s in report.steps if s.result}
    assert said == {"a": "left", "b": "because"}


def asker(step_id: str, **more: Any) -> PlanStep:
    return agent(step_id, agent="manus", **more)


async def test_an_answer_that_is_no_choice_is_refused_and_the_run_goes_on_waiting(
    stage: Stage,
) -> None:
    stage.model.script = then_ends(lambda _: asks("Left?", choices=["yes", "no"]))
    running = asyncio.create_task(stage.run(plan(asker("a"))))
    (question,) = await waiting()
    with pytest.raises(Exception, match="must be one of yes, no"):
        await answer(question.run_key, "perhaps")
    await answer(question.run_key, "no")
    _, report = await running
    assert report.steps[0].result
    assert report.steps[0].result.summary == "no"


async def test_a_question_nobody_answers_takes_its_default_or_is_told_to_the_model(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUS_RUN__ANSWER_TIMEOUT_SECONDS", "1")

    def first(request: RecordedRequest) -> Answer:
        return asks("Which?", default="blue") if "work of a" in request.text else asks("Who?")

    stage.model.script = then_ends(first)
    state, report = await stage.run(plan(asker("a"), asker("b")))
    assert state.is_completed(), state.message
    said = {s.step_id: s.result.summary for s in report.steps if s.result}
    assert said["a"] == "blue"
    assert "nobody answered within 1 s" in said["b"]


async def test_while_a_person_is_asked_the_deadline_stands_still_and_others_run(
    stage: Stage,
) -> None:
    stage.model.script = then_ends(lambda _: asks("Well?"))
    work = plan(asker("a", timeout_seconds=3), code("b"), code("c", depends_on=("b",)))
    running = asyncio.create_task(stage.run(work, max_parallel_steps=1))
    (question,) = await waiting()
    await asyncio.sleep(4)
    await answer(question.run_key, "fine")
    _, report = await running
    assert [s.status.value for s in report.steps] == ["completed"] * 3


async def test_a_step_with_approval_waits_and_a_refusal_blocks_it(stage: Stage) -> None:
    running = asyncio.create_task(
        stage.run(plan(code("a", approval=True), code("b", depends_on=("a",))))
    )
    (question,) = await waiting()
    assert question.choices == ("approve", "deny")
    assert "output = 1" in question.text
    await answer(question.run_key, "deny")
    state, report = await running
    assert state.is_failed()
    assert [s.status for s in report.steps] == [StepStatus.BLOCKED, StepStatus.SKIPPED]
    assert report.steps[0].reason == "no approval was given"


async def test_an_approved_step_runs_and_a_resume_does_not_ask_again(stage: Stage) -> None:
    work = plan(code("a", approval=True), code("bad", "raise ValueError", depends_on=("a",)))
    running = asyncio.create_task(stage.run(work))
    (question,) = await waiting()
    await answer(question.run_key, "approve")
    _, report = await running
    assert report.steps[0].status is StepStatus.COMPLETED
    _, again = await stage.resume(report)
    assert again.steps[0].reused


class Launch(BaseTool):
    """A risky tool that counts what it did."""

    name = "launch"
    description = "Launches."
    parameters = object_schema(("target",), target={"type": "string"})
    annotations = ToolAnnotations(risk="high")

    def __init__(self) -> None:
        self.launched: list[str] = []

    async def execute(self, target: str) -> ToolResult:
        self.launched.append(target)
        return self.success_response(f"launched at {target}")


def launching(target: str) -> Plan:
    step = PlanStep(id="go", title="Go", kind="tool", tool="launch", args={"target": target})
    return plan(step)


@pytest.mark.parametrize(
    ("policy", "said", "launched"),
    [
        ("deny", None, []),
        ("allow", None, ["moon"]),
        ("ask", "approve", ["moon"]),
        ("ask", "deny", []),
        (ApprovalPolicy(high_risk="allow", untrusted="deny"), None, ["moon"]),
    ],
)
async def test_a_high_risk_tool_runs_as_the_policy_says(
    stage: Stage, policy: Any, said: str | None, launched: list[str]
) -> None:
    tool = Launch()
    stage.tools.append(tool)
    running = asyncio.create_task(stage.run(launching("moon"), approvals=policy))
    if said:
        (question,) = await waiting()
        assert '"target": "moon"' in question.text
        await answer(question.run_key, said)
    _, report = await running
    assert tool.launched == launched
    assert report.status == ("completed" if launched else "failed")
    outcomes = [r.error_type for r in stage.rows(report) if r.tool_name == "launch"]
    assert outcomes == ([None] if launched else ["ApprovalDeniedError"])


def launching_agent(stage: Stage, *tools: BaseTool) -> None:
    """An agent ``launcher`` with these tools beside ``ask_human``."""
    stage.tools += tools
    names = "".join(f"  - {name}\n" for name in ("ask_human", *(t.name for t in tools)))
    file = stage.home / "agents" / "launcher.md"
    file.parent.mkdir(parents=True)
    text = f"---\ndescription: Launches.\ntools:\n{names}---\n\nYou launch.\n"
    file.write_text(text, encoding="utf-8")


class Breaks(BaseTool):
    """Finds its machine unusable as soon as a question is open."""

    name = "breaks"
    description = "Breaks."
    parameters = object_schema()

    async def execute(self) -> ToolResult:
        await waiting()
        raise EnvironmentUnusableError("no such machine")


async def test_a_question_nobody_waits_for_any_more_is_taken_back_and_the_next_is_asked(
    stage: Stage,
) -> None:
    launching_agent(stage, Breaks())

    def first(request: RecordedRequest) -> Answer:
        if "work of a" not in request.text:
            return asks("Second?")
        question = ScriptedCall("ask_human", {"inquire": "First?"})
        return Answer(tool_calls=(question, ScriptedCall("breaks", {})))

    stage.model.script = then_ends(first)
    work = plan(agent("a", agent="launcher", optional=True), asker("b", depends_on=("a",)))
    running = asyncio.create_task(stage.run(work))
    async with asyncio.timeout(90):
        while True:
            found = await open_questions()
            if found and "Second?" in found[0].text:
                break
            assert not running.done(), await running
            await asyncio.sleep(0.2)
    await answer(found[0].run_key, "yes")
    state, report = await running
    assert state.is_completed(), state.message
    assert report.steps[1].result
    assert report.steps[1].result.summary == "yes"


async def test_an_answer_given_while_the_process_is_dead_counts_when_the_run_is_resumed(
    stage: Stage, prefect_server: PrefectServer
) -> None:
    file = stage.home.parent / "plan.yaml"
    file.write_text(to_yaml(plan(code("a", approval=True), code("b"))), encoding="utf-8")
    environment = {**os.environ, "PREFECT_API_URL": prefect_server.address.api_url}

    async def manus(*arguments: str) -> Process:
        command = (sys.executable, "-c", "from gateway.cli.main import main; main()", *arguments)
        return await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE
        )

    process = await manus("run", str(file), "--json")
    (question,) = await waiting()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    await answer(question.run_key, "approve")
    process = await manus("resume", question.run_key, "--json")
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    report = RunReport.model_validate_json(out)
    assert [s.status for s in report.steps] == [StepStatus.COMPLETED] * 2


class Slow(BaseTool):
    """Never ends, and what became of it is for a person to say."""

    name = "slow"
    description = "Takes its time."
    parameters = object_schema()
    on_unknown = "ask"

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)

    async def execute(self) -> ToolResult:
        self.begun.release()
        await asyncio.sleep(600)
        return self.success_response("done")


async def test_a_call_cut_off_twice_is_asked_about_twice(stage: Stage) -> None:
    tool = Slow()
    stage.tools.append(tool)
    step = PlanStep(id="go", title="Go", kind="tool", tool="slow")
    run_key = ""
    for number in range(2):
        options = {"resume_from": run_key} if run_key else {}
        running = asyncio.create_task(stage.run(None if run_key else plan(step), **options))
        if number:
            (question,) = await waiting()
            await answer(question.flow_run_id, "run it again")
        await asyncio.wait_for(tool.begun.acquire(), 60)
        (run,) = (stage.home / "runs").iterdir()
        running.cancel()
        await asyncio.wait({running})
        run_key = run.name
    running = asyncio.create_task(stage.run(resume_from=run_key))
    (question,) = await waiting()
    await answer(question.flow_run_id, "do not run it")
    _, report = await running
    assert report.status == "failed"
    assert report.steps[0].error_type == "UnknownOutcomeError"
    assert tool.begun.locked()
