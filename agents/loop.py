"""The agent: ask the model, run the tools it calls, until it is done, stuck or out of turns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import lru_cache

from agents.context import (
    Context,
    Round,
    TokenCounter,
    paired,
    rough_tokens,
    text_tokens,
    transcript,
)
from agents.ending import (
    TERMINATE,
    AgentOutcome,
    by_terminate,
    by_tool,
    held_to_schema,
    in_words,
    refusal,
    with_output_schema,
)
from agents.stuck import RepetitionDetector
from core.agent import AgentSpec
from core.base import JsonObject
from core.completion import Completion, CompletionRequest, ToolDefinition
from core.message import Message, ToolCallPart, system, user
from core.ports import ModelClient, ToolAnswer, ToolRunner

__all__ = ["TERMINATE", "AgentOutcome", "AgentTask", "run_agent"]

CONTEXT_TOKENS = 100_000
_OWED = f"Your result must be structured: call {TERMINATE} with an 'output' that fits its schema."
_SUM_UP = """\
You keep the memory of an agent whose earliest turns no longer fit its context. Sum them up for the
agent itself: what was found out (figures, names, paths), what was done and decided, what failed and
why, what was left to do. Leave out what can be read in files again. Be brief.
"""


@dataclass(frozen=True, slots=True)
class AgentTask:
    """What an agent is to do, with what.

    ``history`` is what was said before. ``output_schema`` is what its structured result must fit.
    ``context_tokens`` bounds each request, as ``count`` counts tokens.
    """

    spec: AgentSpec
    prompt: str
    tools: tuple[ToolDefinition, ...]
    route: str
    max_turns: int
    history: tuple[Message, ...] = ()
    output_schema: JsonObject | None = None
    context_tokens: int = CONTEXT_TOKENS
    count: TokenCounter = rough_tokens


async def run_agent(task: AgentTask, model: ModelClient, tools: ToolRunner) -> AgentOutcome:
    """Runs the loop. Deterministic given the answers, so that a replay asks the same questions.

    Raises whatever ``model`` raises. A tool's failure is an answer to the model, not an error.
    """
    loop = _Loop.begin(task, model, tools)
    for turn in range(1, task.max_turns + 1):
        if outcome := await loop.turn(turn):
            return outcome
    return AgentOutcome("blocked", f"not done after {task.max_turns} turns", turns=task.max_turns)


@lru_cache(maxsize=512)
def _tokens_of(definition: str) -> int:
    return text_tokens(definition)


@dataclass(slots=True)
class _Loop:
    """A task under way. ``shown_once`` goes with the next question and is then forgotten."""

    task: AgentTask
    model: ModelClient
    runner: ToolRunner
    context: Context
    definitions: tuple[ToolDefinition, ...]
    repetition: RepetitionDetector = field(default_factory=RepetitionDetector)
    shown_once: tuple[Message, ...] = ()

    @classmethod
    def begin(cls, task: AgentTask, model: ModelClient, tools: ToolRunner) -> _Loop:
        definitions = with_output_schema(task.tools, task.output_schema)
        context = Context(
            system(task.spec.prompt),
            user(task.prompt),
            limit=task.context_tokens - sum(_tokens_of(d.as_json) for d in definitions),
            count=task.count,
            history=paired(task.history, task.count),
        )
        return cls(task, model, tools, context, definitions)

    async def turn(self, number: int) -> AgentOutcome | None:
        """Asks once and runs what is called. Returns the outcome where that was the end."""
        completion = await self._ask(number)
        schema = self.task.output_schema
        if not completion.tool_calls:
            self.context.add(completion.to_message(), user(_OWED))
            return in_words(completion, schema, number)
        refused = [refusal(call, schema) for call in completion.tool_calls]
        calls = [c for c in completion.tool_calls if c.name != TERMINATE]
        ran = [held_to_schema(a, schema) for a in await _run_calls(calls, self.runner, number)]
        for call, problem in zip(completion.tool_calls, refused, strict=True):
            if call.name == TERMINATE and problem is None:
                return by_terminate(call, completion, number)
        if end := next((a for a in ran if a.terminated), None):
            return by_tool(end, number)
        rest = iter(ran)
        return self._note(completion, [r or next(rest) for r in refused], number)

    def _note(
        self, completion: Completion, answers: list[ToolAnswer], number: int
    ) -> AgentOutcome | None:
        """Adds the turn to the conversation, unless it shows that the agent is stuck."""
        results = Message(role="tool", parts=tuple(a.part for a in answers))
        self.context.add(completion.to_message(), results)
        self.shown_once = tuple(Message(role="user", parts=a.state) for a in answers if a.state)
        self.repetition.observe(completion.tool_calls, answers)
        if self.repetition.stuck:
            return AgentOutcome("blocked", "repeats the same calls without progress", turns=number)
        if hint := self.repetition.hint:
            self.shown_once += (user(hint),)
        return None

    async def _ask(self, number: int) -> Completion:
        beside = sum(map(self.task.count, self.shown_once))
        dropped = self.context.fit(beside)
        if dropped and self.task.spec.summarize_dropped:
            self.context.summary = await self._sum_up(dropped, number)
            self.context.fit(beside)
        messages = (*self.context.messages(), *self.shown_once)
        self.shown_once = ()
        return await self.model.complete(self._request(messages), turn=number)

    async def _sum_up(self, dropped: list[Round], number: int) -> str:
        """The summary so far and what was dropped now, in one."""
        before = f"Summary so far:\n{self.context.summary}\n\n" if self.context.summary else ""
        told = transcript(dropped, limit=self.task.context_tokens // 2)
        request = CompletionRequest(
            messages=(system(_SUM_UP), user(f"{before}Turns to add:\n{told}")),
            route=self.task.route,
            max_output_tokens=min(1_000, max(100, self.task.context_tokens // 20)),
        )
        return (await self.model.complete(request, turn=number, kind="summary")).text.strip()

    def _request(self, messages: tuple[Message, ...]) -> CompletionRequest:
        return CompletionRequest(
            messages=messages,
            route=self.task.route,
            tools=self.definitions,
            max_output_tokens=self.task.spec.max_output_tokens,
            temperature=self.task.spec.temperature,
        )


async def _run_calls(calls: list[ToolCallPart], tools: ToolRunner, turn: int) -> list[ToolAnswer]:
    """All calls of a turn at once; the first to raise cancels the others."""
    if len(calls) == 1:
        return [await tools.run(calls[0], turn=turn, index=0)]
    try:
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(tools.run(call, turn=turn, index=index))
                for index, call in enumerate(calls)
            ]
    except ExceptionGroup as raised:
        raise raised.exceptions[0] from raised
    return [task.result() for task in running]
