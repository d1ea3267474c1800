"""The loop with a scripted model and scripted tools: both are ports, nothing is patched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jsonschema
import pytest

from agents.context import rough_tokens
from agents.ending import with_output_schema
from agents.loop import AgentOutcome, AgentTask, run_agent
from core.agent import AgentSpec
from core.completion import Completion, CompletionRequest, StopReason
from core.message import Part, TextPart, ToolCallPart, ToolResultPart, assistant, user
from core.ports import CallKind, ToolAnswer
from tools.terminate import Terminate

SPEC = AgentSpec(name="tester", description="for tests", prompt="Work.")


def call(name: str, identifier: str = "c1", **arguments: object) -> ToolCallPart:
    return ToolCallPart(id=identifier, name=name, arguments=arguments)


def end(status: str = "success", **more: object) -> ToolCallPart:
    return call("terminate", "end", status=status, **more)


def answer(*parts: Part, stop: StopReason = StopReason.TOOL_CALLS) -> Completion:
    return Completion(parts=parts, stop_reason=stop, provider="p", deployment="p:m", model="m")


@dataclass
class Script:
    """Answers in order; keeps what it was asked."""

    answers: list[Completion]
    requests: list[CompletionRequest] = field(default_factory=list[CompletionRequest])
    summaries: list[CompletionRequest] = field(default_factory=list[CompletionRequest])

    async def complete(
        self, request: CompletionRequest, *, turn: int, kind: CallKind = "turn"
    ) -> Completion:
        if kind == "summary":
            self.summaries.append(request)
            return answer(TextPart(text=f"sum of {turn}"), stop=StopReason.END)
        self.requests.append(request)
        assert turn == len(self.requests)
        return self.answers[min(turn, len(self.answers)) - 1]


@dataclass
class Tools:
    """Every tool answers its name and how often it ran; ``slow`` ones wait for each other."""

    answer: Callable[[ToolCallPart, int], str] = lambda c, n: f"{c.name} {n}"
    ran: list[str] = field(default_factory=list[str])
    together: asyncio.Barrier | None = None

    async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer:
        if self.together:
            async with asyncio.timeout(5):
                await self.together.wait()
        self.ran.append(call.name)
        text = self.answer(call, len(self.ran))
        return ToolAnswer(part=ToolResultPart(call_id=call.id, name=call.name, text=text))


async def run(
    script: Script, tools: Tools | None = None, max_turns: int = 10, **more: Any
) -> AgentOutcome:
    task = AgentTask(SPEC, "Do it.", (), "default", max_turns)
    return await run_agent(replace(task, **more), script, tools or Tools())


async def test_it_calls_tools_and_ends_with_what_terminate_says() -> None:
    script = Script([answer(call("look")), answer(end(message="found 3", output={"n": 3}))])
    tools = Tools()
    assert await run(script, tools) == AgentOutcome("completed", "found 3", {"n": 3}, 2)
    assert tools.ran == ["look"]


async def test_terminate_with_failure_is_a_failure() -> None:
    outcome = await run(Script([answer(end("failure", message="no such file"))]))
    assert (outcome.status, outcome.text) == ("failed", "no such file")


async def test_an_answer_in_words_ends_the_step() -> None:
    outcome = await run(Script([answer(TextPart(text="42"), stop=StopReason.END)]))
    assert (outcome.status, outcome.text) == ("completed", "42")


@pytest.mark.parametrize("stop", [StopReason.LENGTH, StopReason.REFUSAL])
def test_a_model_that_stops_short_fails_the_step(stop: StopReason) -> None:
    outcome = asyncio.run(run(Script([answer(TextPart(text="I"), stop=stop)])))
    assert outcome.status == "failed"


async def test_running_out_of_turns_is_blocked_and_never_completed() -> None:
    tools = Tools()
    outcome = await run(Script([answer(call("look"))]), tools, max_turns=3)
    assert (outcome.status, outcome.text) == ("blocked", "not done after 3 turns")
    assert len(tools.ran) == 3


async def test_the_calls_of_one_turn_run_at_the_same_time() -> None:
    calls = answer(call("a", "1"), call("b", "2"), call("c", "3"))
    tools = Tools(together=asyncio.Barrier(3))
    script = Script([calls, answer(end())])
    await run(script, tools)
    results = script.requests[1].messages[-1].parts
    assert [r.call_id for r in results if isinstance(r, ToolResultPart)] == ["1", "2", "3"]


async def test_terminate_beside_other_calls_waits_for_them() -> None:
    tools = Tools()
    outcome = await run(Script([answer(call("save"), end(message="saved"))]), tools)
    assert (outcome.status, tools.ran) == ("completed", ["save"])


async def test_terminate_without_a_valid_status_is_told_back_to_the_model() -> None:
    script = Script([answer(end("finished")), answer(end())])
    assert (await run(script)).status == "completed"
    told = script.requests[1].messages[-1].parts[0]
    assert isinstance(told, ToolResultPart)
    assert told.is_error


async def test_a_circle_is_hinted_at_once_on_the_next_turn_only_and_then_blocked() -> None:
    script = Script([answer(call("look"))])
    outcome = await run(script, Tools(answer=lambda c, n: "same"), max_turns=50)
    assert outcome.status == "blocked"
    hinted = ["same calls" in str(r.messages) for r in script.requests]
    assert hinted == [False, False, False, True, False]


async def test_a_circle_of_two_rounds_is_one_too() -> None:
    script = Script([answer(call(name)) for name in "ab" * 20])
    outcome = await run(script, Tools(answer=lambda c, n: "same"), max_turns=50)
    assert outcome.status == "blocked"
    hinted = ["same calls" in str(r.messages) for r in script.requests]
    assert (hinted.count(True), len(hinted)) == (1, 10)


async def test_the_same_failing_check_between_different_changes_is_no_circle() -> None:
    rounds = [[answer(call("change", n=n)), answer(call("check"))] for n in range(8)]
    script = Script([*(a for pair in rounds for a in pair), answer(end())])
    outcome = await run(script, Tools(answer=lambda c, n: "same"), max_turns=50)
    assert outcome.status == "completed"
    assert not any("same calls" in str(r.messages) for r in script.requests)


async def test_the_same_call_that_leaves_another_state_is_progress() -> None:
    class Scrolling(Tools):
        async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer:
            part = ToolResultPart(call_id=call.id, name=call.name, text="scrolled")
            return ToolAnswer(part=part, state=(TextPart(text=f"page {turn}"),))

    script = Script([*[answer(call("scroll"))] * 8, answer(end())])
    assert (await run(script, Scrolling())).status == "completed"
    shown = [p.text for m in script.requests[5].messages for p in m.parts if p.type == "text"]
    assert [text for text in shown if text.startswith("page")] == ["page 5"]


async def test_the_same_call_with_new_results_is_progress() -> None:
    outcome = await run(Script([*[answer(call("poll"))] * 7, answer(end())]))
    assert outcome.status == "completed"


async def test_every_call_is_answered_before_the_next_question() -> None:
    script = Script([answer(call("a", "1"), call("b", "2")), answer(call("c", "3")), answer(end())])
    await run(script)
    messages = script.requests[-1].messages
    asked = [c.id for m in messages for c in m.tool_calls]
    answered = [p.call_id for m in messages for p in m.parts if isinstance(p, ToolResultPart)]
    assert asked == answered == ["1", "2", "3"]


async def test_a_failing_tool_run_cancels_the_others_of_its_turn() -> None:
    cancelled: list[str] = []

    class Failing(Tools):
        async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer:
            if call.name == "bad":
                raise ValueError("infrastructure")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(call.name)
                raise
            raise AssertionError

    with pytest.raises(ValueError, match="infrastructure"):
        await run(Script([answer(call("slow", "1"), call("bad", "2"))]), Failing())
    assert cancelled == ["slow"]


SCHEMA = {
    "type": "object",
    "properties": {"rows": {"type": "integer"}},
    "required": ["rows"],
}


async def test_a_structured_result_must_fit_before_the_step_ends() -> None:
    script = Script(
        [answer(end(output={"rows": "3"})), answer(end()), answer(end(output={"rows": 3}))]
    )
    outcome = await run(script, output_schema=SCHEMA)
    assert (outcome.status, outcome.output, outcome.turns) == ("completed", {"rows": 3}, 3)
    told = [str(r.messages[-1].parts[0]) for r in script.requests[1:]]
    assert "output.rows: '3' is not of type 'integer'" in told[0]
    assert "output: None is not of type 'object'" in told[1]


async def test_a_failure_owes_no_structured_result() -> None:
    outcome = await run(Script([answer(end("failure", message="no"))]), output_schema=SCHEMA)
    assert (outcome.status, outcome.text) == ("failed", "no")


async def test_words_are_a_structured_result_only_where_they_are_json_that_fits() -> None:
    def words(text: str) -> Completion:
        return answer(TextPart(text=text), stop=StopReason.END)

    script = Script([words("There are 3."), words('{"rows": 3}')])
    outcome = await run(script, output_schema=SCHEMA)
    assert (outcome.output, outcome.turns) == ({"rows": 3}, 2)
    assert "must be structured" in script.requests[1].messages[-1].text


async def test_terminate_tells_the_model_the_schema_with_its_definitions_where_they_resolve() -> (
    None
):
    schema = {
        "type": "object",
        "properties": {"row": {"$ref": "#/$defs/row"}},
        "$defs": {"row": {"type": "integer"}},
    }
    definition = Terminate().definition
    script = Script([answer(end(output={"row": "x"})), answer(end(output={"row": 1}))])
    await run(script, tools=None, output_schema=schema)
    assert "is not of type 'integer'" in str(script.requests[1].messages[-1])
    (asked,) = with_output_schema((definition,), schema)
    assert asked.parameters["properties"]["output"]["properties"] == schema["properties"]
    assert asked.parameters["$defs"] == schema["$defs"]
    jsonschema.validate({"status": "success", "output": {"row": 1}}, asked.parameters)


class Ending(Tools):
    """A tool whose first result does not fit and whose second one does."""

    async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer:
        part = ToolResultPart(call_id=call.id, name=call.name, text="done")
        return ToolAnswer(
            part=part, terminated="success", output={"rows": None if turn == 1 else 2}
        )


async def test_a_tool_may_end_the_step_with_a_structured_result() -> None:
    outcome = await run(Script([answer(call("finish"))]), Ending())
    assert outcome == AgentOutcome("completed", "done", {"rows": None}, 1)


async def test_a_tool_that_ends_the_step_is_held_to_the_schema() -> None:
    outcome = await run(Script([answer(call("finish"))]), Ending(), output_schema=SCHEMA)
    assert outcome == AgentOutcome("completed", "done", {"rows": 2}, 2)


async def test_what_was_said_before_stands_between_the_prompts() -> None:
    script = Script([answer(end())])
    await run(script, history=(user("Hello."), assistant("Good day.")))
    assert [(m.role, m.text) for m in script.requests[0].messages] == [
        ("system", "Work."),
        ("user", "Hello."),
        ("assistant", "Good day."),
        ("user", "Do it."),
    ]


async def test_a_long_task_stays_within_its_context_and_pairs_stay_whole() -> None:
    script = Script([*[answer(call("read", n=n)) for n in range(30)], answer(end())])
    await run(script, Tools(answer=lambda c, n: f"{n} " * 600), max_turns=40, context_tokens=5_000)
    for request in script.requests:
        assert sum(map(rough_tokens, request.messages)) <= 5_000
        asked = [c.id for m in request.messages for c in m.tool_calls]
        answered = [p.call_id for m in request.messages for p in m.parts if p.type == "tool_result"]
        assert asked == answered
        assert [m.role for m in request.messages[:2]] == ["system", "user"]
    assert "turns on this task are left out" in script.requests[-1].messages[1].text
    assert script.summaries == []


async def test_what_is_dropped_is_summed_up_where_the_agent_wants_it() -> None:
    spec = SPEC.model_copy(update={"summarize_dropped": True})
    script = Script([*[answer(call("read", n=n)) for n in range(20)], answer(end())])
    tools = Tools(answer=lambda c, n: f"{n} " * 600)
    await run(script, tools, max_turns=40, context_tokens=5_000, spec=spec)
    assert len(script.summaries) > 1
    assert "sum of" in script.requests[-1].messages[1].text
    assert "sum of" in script.summaries[1].messages[1].text
    again = Script(script.answers)
    tools = Tools(answer=lambda c, n: f"{n} " * 600)
    await run(again, tools, max_turns=40, context_tokens=5_000, spec=spec)
    assert (again.requests, again.summaries) == (script.requests, script.summaries)
