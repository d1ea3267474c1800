"""A plan whose steps end badly is revised, and what is finished is not done again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.result import StepStatus
from core.usage import Budget
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall
from tests.flows.conftest import Stage, artifact_keys
from tests.flows.test_planning import agent, code, ends, plan


def planned(*steps: dict[str, Any]) -> Answer:
    arguments = {"title": "A plan", "steps": [*steps]}
    return Answer(tool_calls=(ScriptedCall("create_plan", arguments),))


def step(step_id: str, instructions: str, *needs: str) -> dict[str, Any]:
    return {
        "id": step_id,
        "title": step_id,
        "instructions": instructions,
        "agent": "manus",
        "depends_on": [*needs],
    }


class Model:
    """Drafts a plan whose second step fails, and revises it as it is told to."""

    def __init__(self, *revisions: Answer | Fault) -> None:
        self.revisions = [*revisions]
        self.drafts: list[RecordedRequest] = []
        self.worked: list[str] = []

    def __call__(self, request: RecordedRequest) -> Answer | Fault:
        if "create_plan" in request.tool_names:
            self.drafts.append(request)
            if len(self.drafts) == 1:
                return planned(
                    step("fetch", "Do the work of fetch."),
                    step("count", "Do the hard work of count.", "fetch"),
                    step("tell", "Do the work of tell.", "count"),
                )
            return self.revisions.pop(0)
        if "hard work" in request.text:
            self.worked.append("hard")
            return ends("failure", "the library is missing")
        for name in ("fetch", "count", "tell"):
            if f"work of {name}" in request.text:
                self.worked.append(name)
                return ends("success", f"{name} is done")
        return Answer(text="All is told.")


EASIER = (
    step("count-by-hand", "Do the easy work of count.", "fetch"),
    step("tell", "Do the work of tell.", "count-by-hand"),
)


async def test_a_blocked_plan_is_revised_and_finished_under_version_two(stage: Stage) -> None:
    model = stage.model.script = Model(planned(*EASIER))
    state, report = await stage.run(goal="Fetch, count and tell")
    assert state.is_completed(), state.message
    assert report.plan_version == 2
    assert [s.step_id for s in report.steps] == ["fetch", "count-by-hand", "tell"]
    assert model.worked == ["fetch", "hard", "count", "tell"]
    assert [(r.step_id, r.reason) for r in report.replaced] == [("count", "the library is missing")]
    asked = model.drafts[1].text
    assert "the library is missing" in asked
    assert "fetch is done" in asked
    assert (stage.home / "runs" / report.run_key / "plan.v2.yaml").is_file()
    markdown = (stage.home / "runs" / report.run_key / "report.md").read_text(encoding="utf-8")
    assert "Planned anew (now version 2)" in markdown
    assert "plan" in await artifact_keys(report.run_key)


async def test_a_revision_that_would_redo_what_is_finished_goes_back_to_the_model(
    stage: Stage,
) -> None:
    redo = planned(step("fetch", "Fetch it again."))
    model = stage.model.script = Model(redo, planned(*EASIER))
    _, report = await stage.run(goal="Fetch, count and tell")
    assert report.status == "completed"
    assert "step 'fetch' is finished" in model.drafts[2].text
    assert model.worked.count("fetch") == 1


async def test_a_revision_without_a_list_of_steps_goes_back_to_the_model(stage: Stage) -> None:
    arguments = {"title": "A plan", "steps": 5}
    nothing = Answer(tool_calls=(ScriptedCall("create_plan", arguments),))
    model = stage.model.script = Model(nothing, planned(*EASIER))
    _, report = await stage.run(goal="Fetch, count and tell")
    assert report.status == "completed"
    assert "steps: must be a list" in model.drafts[2].text


async def test_a_revision_that_was_cut_off_is_gone_on_with_and_nothing_is_done_again(
    stage: Stage,
) -> None:
    redo = planned(step("fetch", "Fetch it again."))
    model = Model(redo, planned(*EASIER), planned(*EASIER))

    def script(request: RecordedRequest) -> Answer | Fault:
        if len(model.drafts) == 2 and "create_plan" in request.tool_names:
            stage.model.latency_seconds = 600
        return model(request)

    stage.model.script = script
    running = asyncio.create_task(stage.run(goal="Fetch, count and tell"))
    async with asyncio.timeout(90):
        while len(model.drafts) < 3:
            assert not running.done(), await running
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait({running})
    stage.model.latency_seconds = 0
    (run,) = (stage.home / "runs").iterdir()
    state, report = await stage.run(resume_from=run.name)
    assert state.is_completed(), state.message
    assert report.plan_version == 2
    assert model.worked == ["fetch", "hard", "count", "tell"]
    assert len(model.drafts) == 4
    assert [s.reused for s in report.steps] == [True, False, False]
    assert [(r.step_id, r.attempts) for r in report.replaced] == [("count", 1)]


async def test_without_replans_left_the_run_ends_failed(stage: Stage) -> None:
    again = planned(step("count", "Do the same hard work of count.", "fetch"))
    model = stage.model.script = Model(again)
    state, report = await stage.run(goal="Fetch, count and tell")
    assert state.is_failed()
    assert report.plan_version == 2
    assert len(model.drafts) == 2
    assert [s.status for s in report.steps] == [StepStatus.COMPLETED, StepStatus.FAILED]


@pytest.mark.parametrize("most", [0, None])
async def test_a_plan_given_by_an_operator_is_revised_only_where_that_is_asked_for(
    stage: Stage, most: int | None
) -> None:
    model = stage.model.script = Model(planned(*EASIER))
    work = plan(agent("fetch"), code("count", "1/0", depends_on=("fetch",)))
    _, report = await stage.run(work, max_replans=most)
    assert report.plan_version == 1
    assert report.status == "failed"
    assert model.drafts == []


async def test_a_resume_goes_on_under_the_latest_version(stage: Stage) -> None:
    broken = [True]
    model = Model(planned(*EASIER))

    def script(request: RecordedRequest) -> Answer | Fault:
        if broken[0] and "easy work" in request.text:
            return Fault(status=500)
        return model(request)

    stage.model.script = script
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
        state, report = await stage.run(goal="Fetch, count and tell")
    assert state.is_failed()
    assert report.plan_version == 2
    broken[0] = False
    asked = len(stage.model.requests)
    state, report = await stage.resume(report)
    assert state.is_completed(), state.message
    assert report.plan_version == 2
    assert [s.step_id for s in report.steps] == ["fetch", "count-by-hand", "tell"]
    assert len(model.drafts) == 2
    assert model.worked.count("fetch") == model.worked.count("hard") == 1
    assert len(stage.model.requests) == asked + 3
    assert [r.step_id for r in report.replaced] == ["count"]


async def test_an_outage_is_no_reason_to_revise(stage: Stage) -> None:
    model = Model(planned(*EASIER))

    def script(request: RecordedRequest) -> Answer | Fault:
        return Fault(status=500) if "hard work" in request.text else model(request)

    stage.model.script = script
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
        _, report = await stage.run(goal="Fetch, count and tell")
    assert report.plan_version == 1
    assert len(model.drafts) == 1


async def test_agents_read_the_plan_and_their_notes_reach_the_report_and_the_reviser(
    stage: Stage,
) -> None:
    model = Model(planned(*EASIER))

    def script(request: RecordedRequest) -> Answer | Fault:
        if "hard work" in request.text and request.messages[-1]["role"] != "tool":
            note = {"command": "note", "text": "try without the library"}
            return Answer(
                tool_calls=(
                    ScriptedCall("planning", note),
                    ScriptedCall("planning", {"command": "get"}),
                )
            )
        return model(request)

    stage.model.script = script
    _, report = await stage.run(goal="Fetch, count and tell")
    assert report.status == "completed"
    (seen,) = [r.last_text for r in stage.model.requests if "count (your step)" in r.last_text]
    assert "fetch [completed]" in seen
    assert "note: try without the library" in model.drafts[1].text
    assert report.replaced[0].notes == ("try without the library",)


async def test_a_revision_that_the_budget_forbids_is_said_and_made_on_resume(stage: Stage) -> None:
    model = stage.model.script = Model(planned(*EASIER))
    _, report = await stage.run(goal="Fetch, count and tell", budget=Budget(max_model_calls=3))
    assert report.status == "over_budget"
    assert "Not revised: " in report.summary
    assert len(model.drafts) == 1
    _, report = await stage.resume(report, budget=Budget(max_model_calls=50))
    assert report.status == "completed"
    assert report.plan_version == 2
    assert model.worked == ["fetch", "hard", "count", "tell"]


async def test_what_a_model_says_of_a_plan_beyond_its_steps_is_not_taken(stage: Stage) -> None:
    model = Model()

    def script(request: RecordedRequest) -> Answer | Fault:
        if "create_plan" in request.tool_names:
            steps = [step("fetch", "Do the work of fetch.")]
            arguments = {"title": "Mine", "steps": steps, "version": 7, "vars": {"x": 1}}
            return Answer(tool_calls=(ScriptedCall("create_plan", arguments),))
        return model(request)

    stage.model.script = script
    _, report = await stage.run(goal="Fetch")
    assert report.status == "completed"
    assert report.plan_version == 1
