"""``run_agent`` as its callers see it: one agent, no plan, and all that a run promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from analytics.reader import open_usage
from core.errors import BadInputError, RunFailedError
from core.result import RunReport, StepStatus
from core.run import RunOptions, Utterance
from core.usage import Budget
from flows.agent import run_agent
from flows.planning import plan_and_run
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall
from tests.fakes.scripts import always, in_turn
from tests.flows.conftest import Stage, artifact_keys
from tests.flows.test_planning import ends

SAVE = ScriptedCall("write_file", {"path": "notes/a.txt", "content": "kept"})
COUNTER = """---
description: Counts rows and nothing else.
tools: [python_execute, "sextant?", terminate]
model: [abacus, default]
max_turns: 4
output_schema:
  type: object
  properties: {rows: {type: integer}}
  required: [rows]
---
You count rows with Python.
"""


async def asked(prompt: str | None, agent: str = "manus", **options: Any) -> tuple[Any, RunReport]:
    """Runs to the end; the report is there whether the run completed or failed."""
    flow: Any = run_agent
    state: State[Any] = await flow(
        prompt=prompt, agent=agent, options=RunOptions(**options), return_state=True
    )
    outcome = await state.aresult(raise_on_failure=False)
    if isinstance(outcome, RunFailedError):
        outcome = outcome.details["report"]
    if not isinstance(outcome, RunReport):
        raise outcome
    return state, outcome


def counter(stage: Stage) -> None:
    (stage.home / "agents").mkdir(parents=True)
    (stage.home / "agents" / "counter.md").write_text(COUNTER, encoding="utf-8")


async def test_one_agent_gets_the_prompt_and_its_answer_is_the_runs(stage: Stage) -> None:
    stage.model.script = in_turn([Answer(tool_calls=(SAVE,)), ends("success", "All kept.")])
    state, report = await asked("Keep {{ this }}.")
    assert state.is_completed()
    assert (report.summary, report.goal) == ("All kept.", "Keep {{ this }}.")
    assert [s.step_id for s in report.steps] == ["answer"]
    assert len(stage.model.requests) == 2
    first = stage.model.requests[0]
    assert first.last_text == "Keep {{ this }}."
    assert "create_plan" not in first.tool_names
    assert await artifact_keys(report.run_key) == {"plan", "result", "usage", "files"}
    with open_usage(stage.home) as usage:
        found = usage.rows(
            "SELECT DISTINCT workflow_name, agent_name FROM usage_event ORDER BY ALL", {}
        )
    assert found == [("run_agent", "manus"), ("run_agent", None)]


async def test_an_agent_that_fails_fails_the_run_and_a_resume_tries_again(stage: Stage) -> None:
    stage.model.script = in_turn([ends("failure", "no such file"), ends("success", "found")])
    state, report = await asked("Find it.")
    assert state.is_failed()
    assert "no such file" in (state.message or "")
    _, report = await asked(None, resume_from=report.run_key)
    assert (report.status, report.steps[0].attempts) == ("completed", 2)


async def test_an_outage_in_the_middle_costs_only_the_call_that_is_missing(stage: Stage) -> None:
    stage.model.script = in_turn([Answer(tool_calls=(SAVE,)), Fault(status=500)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
        _, report = await asked("Keep it.")
    assert report.status == "failed"
    before = len(stage.model.requests)
    stage.model.script = always(ends("success", "kept"))
    _, report = await asked(None, resume_from=report.run_key)
    assert report.status == "completed"
    assert len(stage.model.requests) == before + 1


async def test_the_budget_holds_and_a_resume_by_the_other_flow_goes_on(stage: Stage) -> None:
    stage.model.script = in_turn([Answer(tool_calls=(SAVE,)), ends("success")])
    _, report = await asked("Keep it.", budget=Budget(max_model_calls=1))
    assert report.status == "over_budget"
    _, report = await stage.resume(report, budget=Budget(max_model_calls=5))
    assert report.status == "completed"
    assert len(stage.model.requests) == 2


async def test_an_agent_dropped_in_as_a_file_is_offered_to_the_planner_and_used(
    stage: Stage,
) -> None:
    counter(stage)
    step = {"id": "a", "title": "A", "instructions": "Count.", "agent": "counter"}
    drafted = ScriptedCall("create_plan", {"title": "Count", "steps": [step]})
    done = {"status": "success", "message": "three", "output": {"rows": 3}}
    stage.model.script = in_turn(
        [
            Answer(tool_calls=(drafted,)),
            Answer(tool_calls=(ScriptedCall("terminate", {**done, "output": {}}),)),
            Answer(tool_calls=(ScriptedCall("terminate", done),)),
            Answer(text="Three rows."),
        ]
    )
    report = await plan_and_run(goal="How many rows?")
    assert isinstance(report, RunReport)
    assert "- counter: Counts rows and nothing else." in stage.model.requests[0].system
    assert "counter" in json.dumps(stage.model.requests[0].body["tools"])
    assert stage.model.requests[1].system == "You count rows with Python."
    assert stage.model.requests[1].tool_names == ("python_execute", "terminate")
    assert "'rows' is a required property" in stage.model.requests[2].last_text
    assert report.steps[0].result
    assert report.steps[0].result.output == {"rows": 3}


async def test_agents_that_cannot_work_here_are_not_offered_to_the_planner(stage: Stage) -> None:
    counter(stage)
    path = stage.home / "agents" / "counter.md"
    path.write_text(COUNTER.replace('"sextant?"', "sextant"), encoding="utf-8")

    def script(request: RecordedRequest) -> Answer:
        return Answer(text="no plan")

    stage.model.script = script
    with pytest.raises(Exception, match="no usable plan"):
        await plan_and_run(goal="How many rows?")
    assert "counter" not in stage.model.requests[0].system


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"sextant?"', "sextant"), "no tool named 'sextant'"),
        (("[abacus, default]", "abacus"), "no route 'abacus'"),
    ],
)
async def test_an_agent_without_its_tool_or_route_is_refused_by_name(
    stage: Stage, change: tuple[str, str], message: str
) -> None:
    counter(stage)
    path = stage.home / "agents" / "counter.md"
    path.write_text(COUNTER.replace(*change), encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        await asked("Count.", agent="counter")
    with pytest.raises(BadInputError, match="unknown agent 'nobody'"):
        await asked("Count.", agent="nobody")
    with pytest.raises(BadInputError, match="give a prompt"):
        await asked("  ")
    assert not (stage.home / "runs").exists()


async def test_it_sees_what_was_said_before_and_begins_with_the_files_made_then(
    stage: Stage,
) -> None:
    given = stage.home.parent / "given.csv"
    given.write_text("a\n1\n", encoding="utf-8")
    stage.model.script = in_turn([Answer(tool_calls=(SAVE,)), ends("success", "kept")])
    _, first = await asked("Keep it.", inputs=(str(given),))
    read = ScriptedCall(
        "bash", {"command": "cat notes/a.txt ../data/given.csv; echo more >> notes/a.txt"}
    )

    def reading(request: RecordedRequest) -> Answer:
        done = request.messages[-1]["role"] == "tool"
        return ends("success") if done else Answer(tool_calls=(read,))

    stage.model.script = reading
    said = (Utterance(role="user", text="Keep it."), Utterance(role="assistant", text="kept"))
    _, second = await asked("And now?", conversation=said, files_of=first.run_key[:8])
    request, after = stage.model.requests[-2:]
    assert [m["role"] for m in request.messages] == ["system", "user", "assistant", "user"]
    assert "notes/a.txt (4 bytes)" in request.last_text
    assert "../data/given.csv" in request.last_text
    assert after.last_text.splitlines()[:2] == ["kepta", "1"]
    places = [
        stage.home / "runs" / r.run_key / "workspace/answer/notes/a.txt" for r in (first, second)
    ]
    assert [p.read_text(encoding="utf-8") for p in places] == ["kept", "keptmore\n"]
    assert second.steps[0].status is StepStatus.COMPLETED


async def test_a_conversation_is_cut_to_the_window_of_the_model_that_reads_it(
    stage: Stage,
) -> None:
    def script(request: RecordedRequest) -> Answer:
        turn = 1 + sum(m["role"] == "assistant" for m in request.messages)
        text = f"{turn} " + "word " * 1500
        if "turns on this task are left out" in request.text:
            return ends("success", "enough")
        save = {"path": "a.txt", "content": text}
        return Answer(tool_calls=(ScriptedCall("write_file", save),))

    stage.model.script = script
    state, _ = await asked("Write much.", model="openai:gpt-4")
    assert state.is_completed(), state.message
    assert 2 < len(stage.model.requests) < 8
