"""The loop with a scripted model and scripted tools: both are ports, nothing is patched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from agents.loop import AgentOutcome, AgentTask, run_agent
from core.agent import AgentSpec
from core.completion import Completion, CompletionRequest, StopReason
from core.message import Message, Part, TextPart, ToolCallPart, ToolResultPart
from core.ports import ToolAnswer

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

    async def complete(self, request: CompletionRequest, *, turn: int) -> Completion:
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


async def run(script: Script, tools: Tools | None = None, max_turns: int = 10) -> AgentOutcome:
    task = AgentTask(SPEC, "Do it.", (), "default", max_turns)
    return await run_agent(task, script, tools or Tools())


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


async def test_repeating_the_same_calls_with_the_same_results_is_hinted_then_blocked() -> None:
    script = Script([answer(call("look"))])
    outcome = await run(script, Tools(answer=lambda c, n: "same"), max_turns=50)
    assert outcome.status == "blocked"
    assert len(script.requests) == 5
    hints = [m for m in _users(script.requests[-1]) if "same calls" in m.text]
    assert len(hints) == 2


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


def _users(request: CompletionRequest) -> list[Message]:
    return [m for m in request.messages if m.role == "user"]
