"""Values that JSON has no place for, from tools, models and plans."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import PlanError
from core.plan import Plan, PlanStep
from tasks.check import parse_plan
from tests.fakes.script import Answer, RecordedRequest, ScriptedCall
from tests.fakes.scripts import always
from tests.flows.conftest import Stage


def code(step_id: str, source: str, **more: Any) -> PlanStep:
    args = {"code": source, "inputs": more.pop("inputs", {})}
    return PlanStep(
        id=step_id, title=step_id, kind="tool", tool="python_execute", args=args, **more
    )


def plan(*steps: PlanStep) -> Plan:
    return Plan(title="A plan", steps=steps, summarize=False)


async def test_half_a_character_in_a_result_is_no_end_of_the_run(stage: Stage) -> None:
    _, report = await stage.run(plan(code("a", r"output = '\ud83d'"), code("b", "output = 1")))
    assert report.steps[1].result
    _, again = await stage.resume(report)
    assert again.steps[0].reused


async def test_half_a_character_in_a_models_call_is_no_end_of_the_run(stage: Stage) -> None:
    def script(request: RecordedRequest) -> Answer:
        if request.messages[-1]["role"] == "tool":
            return Answer(
                tool_calls=(ScriptedCall("terminate", '{"status":"success","message":"x"}'),)
            )
        return Answer(tool_calls=(ScriptedCall("python_execute", '{"code":"print(1) # \\ud83d"}'),))

    stage.model.script = script
    step = PlanStep(id="a", title="a", instructions="do")
    _, report = await stage.run(plan(step))
    assert report.status == "completed"


async def test_a_models_nan_is_null_for_the_next_step(stage: Stage) -> None:
    stage.model.script = always(Answer(text='{"x": NaN}'))
    schema = {"type": "object"}
    first = PlanStep(id="a", title="a", instructions="do", kind="completion", output_schema=schema)
    inputs = {"v": "{{ steps.a.output }}"}
    second = code("b", "output = inputs['v']", inputs=inputs, depends_on=("a",))
    _, report = await stage.run(plan(first, second))
    assert report.steps[1].result
    assert report.steps[1].result.output == {"x": None}


async def test_dates_of_a_plan_file_are_the_text_they_look_like(stage: Stage) -> None:
    source = """
title: t
summarize: false
vars: {day: 2024-05-01 10:00:00}
steps:
  - {id: a, title: a, kind: tool, tool: python_execute,
     args: {code: "output = inputs", inputs: {d: 2024-05-01, v: "{{ vars.day }}"}}}
"""
    _, report = await stage.run(parse_plan(source, "p.yaml"))
    assert report.steps[0].result, report.steps
    assert report.steps[0].result.output == {"d": "2024-05-01", "v": "2024-05-01T10:00:00"}


async def test_a_schema_that_is_none_is_found_before_anything_starts(stage: Stage) -> None:
    step = PlanStep(
        id="a", title="a", kind="completion", instructions="x", output_schema={"type": 12}
    )
    with pytest.raises(PlanError, match="step 'a': output_schema"):
        await stage.run(plan(step))
    assert not stage.model.requests
