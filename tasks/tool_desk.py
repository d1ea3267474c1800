"""The tools of one attempt of one step: found, admitted, bound, run, recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from core.errors import (
    AnswerToModelError,
    ApprovalDeniedError,
    StaleRecordError,
    UnknownOutcomeError,
    UnknownToolError,
)
from core.fingerprint import fingerprint
from core.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from core.plan import OnUnknown, PlanStep
from core.ports import Human, PlanBook, ToolAnswer
from core.untrusted import marked
from core.usage import UsageEvent
from tasks.approval import CautiousHuman, admit
from tasks.call_model import CallModel
from tasks.deadline import StepClock
from tasks.human import Operator
from tasks.model_call import DurableModel
from tasks.policies import state_of
from tasks.progress import Progress
from tasks.run import Position, Run
from tasks.store import detached, raise_if_unsaved
from tasks.taint import is_tainted, mark
from tasks.tool import ToolCall, call_tool, record_of
from tools.base import ToolContext, ToolResult
from tools.step_files import write_bytes

BEFORE_ALL_TURNS = -1
MAX_RESULT_CHARS = 16_000
"""What a model is shown of one result; the whole text is left in the step's directory."""


@dataclass(slots=True, kw_only=True)
class ToolDesk:
    """A ``ToolRunner`` for one attempt of one step: finds, admits, binds, runs, records.

    ``untrusted_from`` is the first turn whose results hold what strangers wrote: the calls of later
    turns are made with that in view. None where there is no such thing yet.
    """

    run: Run
    position: Position
    context: ToolContext
    model: DurableModel
    route: str
    clock: StepClock
    allowed: tuple[str, ...]
    agent_name: str | None = None
    on_unknown: OnUnknown | None = None
    untrusted_from: int | None = None
    calls: int = 0

    async def run_tool(
        self, name: str, arguments: dict[str, Any], *, turn: int, index: int
    ) -> ToolResult:
        """The tool's result, run or replayed; ``is_error`` where it ended badly.

        Raises:
            UnknownToolError: this step does not have the tool.
            ApprovalDeniedError: it may not run; see ``RunOptions.approvals``.
            UnknownOutcomeError: see ``PlanStep.on_unknown``.
        """
        call = self._call(name, arguments, turn, index)
        self.run.tell(Progress(self.position.step_id, tool=name))
        await self._admit(call, turn)
        if call.tool.annotations.untrusted_output:
            self.sees_untrusted(turn)
        with detached():
            state = await state_of(call_tool, call=call, key=call.key, label=call.label)
        raise_if_unsaved(self.run.store)
        record = await record_of(state)
        if record.request_hash != call.request_hash:
            raise StaleRecordError(f"record '{call.key}' is of another call than this one")
        self.calls += 1
        self.run.emit(record.event.model_copy(update={"replayed": state.name == "Cached"}))
        return record.result

    async def run_call(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer:
        """Answers a model's call; whatever is wrong with the call itself is an answer too."""
        if call.arguments_error:
            return _refused(call, f"arguments: {call.arguments_error}")
        try:
            result = await self.run_tool(call.name, call.arguments, turn=turn, index=index)
        except (AnswerToModelError, UnknownOutcomeError) as error:
            return _refused(call, str(error))
        part = ToolResultPart(
            call_id=call.id,
            name=call.name,
            text=self._marked(call.name, self._shown(result, turn, index)),
            images=result.images,
            is_error=result.is_error,
        )
        ended, output = result.terminated, result.data
        state = self._marked_state(call.name, result.state)
        return ToolAnswer(part=part, state=state, terminated=ended, output=output)

    def _marked_state(
        self, tool: str, state: tuple[TextPart | ImagePart, ...]
    ) -> tuple[TextPart | ImagePart, ...]:
        return tuple(
            part.model_copy(update={"text": self._marked(tool, part.text)})
            if isinstance(part, TextPart)
            else part
            for part in state
        )

    def _marked(self, tool: str, text: str) -> str:
        """Marks what strangers wrote."""
        outside = self.run.services.tools.get(tool).annotations.untrusted_output
        return marked(text, self.run.key) if outside else text

    def sees_untrusted(self, turn: int) -> None:
        """To be said before strangers' words can arrive: it is durable, whatever happens then."""
        if self.untrusted_from is None or turn < self.untrusted_from:
            mark(self.run.directory, self.position, turn)
            self.untrusted_from = turn

    def operator(self, key: str, label: str) -> Operator:
        """Someone to ask; the answers are kept under ``key``."""
        return Operator(self.run, key, label, self.clock)

    async def _admit(self, call: ToolCall, turn: int) -> None:
        """What is recorded was admitted. A refusal leaves a row: the model did ask for it."""
        if call.tool.annotations.risk == "low" or await self.run.store.aexists(call.key):
            return
        untrusted = self._is_untrusted(turn)
        human = self.operator(f"{call.key}-approval", call.label)
        try:
            await admit(call.tool, call.arguments, self.run.approvals, human, untrusted=untrusted)
        except ApprovalDeniedError as error:
            refusal = {
                "event_id": fingerprint(call.key, "denied")[:32],
                "outcome": "error",
                "error_type": type(error).__name__,
            }
            self.run.emit(call.event.model_copy(update=refusal))
            raise

    def _is_untrusted(self, turn: int) -> bool:
        """Whether strangers' words were in view when the calls of ``turn`` were made."""
        return self.untrusted_from is not None and turn > self.untrusted_from

    def _call(self, name: str, arguments: dict[str, Any], turn: int, index: int) -> ToolCall:
        if name not in self.allowed:
            there = ", ".join(self.allowed) or "none"
            raise UnknownToolError(f"this step has no tool '{name}'; it has: {there}")
        tool = self.run.services.tools.get(name)
        step_id = self.position.step_id
        event = UsageEvent(
            event_id="",
            kind="tool_run",
            run_key=self.run.key,
            step_id=step_id,
            attempt=self.position.attempt,
            turn=turn,
            call_index=index,
            operation_name="execute_tool",
            agent_name=self.agent_name,
            tool_name=name,
        )
        key = self.position.tool_key(self.run.key, turn, index)
        label = f"{step_id}/{name}"
        return ToolCall(
            tool=tool.bind(self._context_of(key, label, turn)),
            arguments=arguments,
            key=key,
            label=label,
            event=event,
            on_unknown=self.on_unknown or tool.on_unknown,
            clock=self.clock,
        )

    def _context_of(self, key: str, label: str, turn: int) -> ToolContext:
        human: Human = self.operator(key, label)
        return replace(
            self.context,
            human=CautiousHuman(human) if self._is_untrusted(turn) else human,
            model=CallModel(self.model, key, turn, self.route),
            plan=_Book(self.context.plan, self, turn) if self.context.plan else None,
        )

    def _shown(self, result: ToolResult, turn: int, index: int) -> str:
        """The result as the model sees it: cut in the middle, the whole left in a file."""
        text = result.text
        if len(text) <= MAX_RESULT_CHARS:
            return text
        name = f"tool-output-t{turn:03d}-c{index:02d}.txt"
        write_bytes(self.context.directory, name, text.encode())
        half = MAX_RESULT_CHARS // 2
        left_out = len(text) - 2 * half
        note = f"\n[… {left_out} characters left out; the whole text is in {name} …]\n"
        return text[:half] + note + text[-half:]


@dataclass(frozen=True, slots=True)
class _Book:
    """The port ``PlanBook`` for one call. What other steps say in it may be strangers' words."""

    book: PlanBook
    desk: ToolDesk
    turn: int

    def read(self) -> str:
        text = self.book.read()
        if not any(map(self._speaks_for_strangers, self.desk.run.plans[-1].steps)):
            return text
        self.desk.sees_untrusted(self.turn)
        return marked(text, self.desk.run.key)

    def note(self, text: str) -> None:
        self.book.note(text)

    def _speaks_for_strangers(self, step: PlanStep) -> bool:
        run = self.desk.run
        report = run.settled.get(step.id)
        speaks = run.journal.notes(step.id) or (report and report.reason)
        return bool(speaks) and is_tainted(run.directory, step.id)


@dataclass(frozen=True, slots=True)
class AgentTools:
    """A ``ToolDesk`` behind the port that the agent loop knows."""

    desk: ToolDesk

    async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer:
        return await self.desk.run_call(call, turn=turn, index=index)


def _refused(call: ToolCallPart, problem: str) -> ToolAnswer:
    part = ToolResultPart(call_id=call.id, name=call.name, text=problem, is_error=True)
    return ToolAnswer(part=part)
