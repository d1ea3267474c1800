"""A tool run: one task run in the UI, one record, one usage row.

A run that ends well is a cached Prefect result. One that ends badly raises, so that its bar is
red, and is recorded as well: the model has seen that answer, a replay must give the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from core.base import Value, as_stored
from core.errors import (
    AnswerToModelError,
    EnvironmentUnusableError,
    StaleRecordError,
    ToolFailedError,
    UnknownOutcomeError,
    UnknownToolError,
)
from core.fingerprint import fingerprint
from core.message import ToolCallPart, ToolResultPart
from core.plan import OnUnknown
from core.ports import ToolAnswer
from core.usage import UsageEvent
from tasks.journal import CallBegun, CallFailed
from tasks.policies import KEY_PARAMETER, state_of
from tasks.run import Position, Run, current_run
from tasks.store import detached, once, raise_if_unsaved, read_record
from tools.base import BaseTool, ToolContext, ToolResult
from tools.invoke import invoke
from tools.step_files import write_bytes

MAX_RESULT_CHARS = 16_000
"""What a model is shown of one result; the whole text is left in the step's directory."""


class ToolRunRecord(Value):
    """What is committed of a tool run."""

    request_hash: str
    result: ToolResult
    event: UsageEvent


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call at its position, ready to run. ``key`` names its record."""

    tool: BaseTool
    arguments: dict[str, Any]
    key: str
    label: str
    event: UsageEvent
    on_unknown: OnUnknown

    @property
    def request_hash(self) -> str:
        return fingerprint(self.tool.name, self.arguments)


@task(
    task_run_name="{label}",
    cache_policy=KEY_PARAMETER,
    persist_result=True,
    log_prints=False,
)
async def call_tool(call: ToolCall, key: str, label: str) -> ToolRunRecord:
    """Runs the tool unless its record is there. Raises ToolFailedError where it ended badly."""
    run = current_run()
    failed_key = f"{key}-failed"
    failed: ToolRunRecord | None = await read_record(run.store, failed_key)
    if failed is None:
        record = await _run_tool(run, call)
        if not record.result.is_error:
            return record
        failed, _ = await once(run.store, failed_key, lambda: _ready(record))
    raise ToolFailedError(failed.result.error or failed.result.output, record=failed)


async def _ready(record: ToolRunRecord) -> ToolRunRecord:
    return record


async def _run_tool(run: Run, call: ToolCall) -> ToolRunRecord:
    _respect_unknown_outcome(run, call)
    run.journal.append(CallBegun(key=call.key, kind="tool", request_hash=call.request_hash))
    began = time.monotonic()
    result = await _invoke(run, call)
    event = call.event.model_copy(
        update={
            "event_id": fingerprint(call.key)[:32],
            "duration_seconds": time.monotonic() - began,
            "outcome": "error" if result.is_error else "ok",
            "error_type": "ToolFailedError" if result.is_error else None,
            "sandbox": result.sandbox,
        }
    )
    return ToolRunRecord(request_hash=call.request_hash, result=result, event=event)


async def _invoke(run: Run, call: ToolCall) -> ToolResult:
    """The result as its record will give it back. A tool that could not start is not in flight."""
    try:
        result = await invoke(call.tool, call.arguments)
    except EnvironmentUnusableError:
        run.journal.append(CallFailed(key=call.key))
        raise
    except BaseException:  # cancelled or past a deadline: this position may never come again
        _account_for_lost_runs(run, call)
        raise
    try:
        return as_stored(result)
    except ValueError as error:
        return ToolResult(error=f"{call.tool.name}: its result is not JSON: {error}")


def _account_for_lost_runs(run: Run, call: ToolCall) -> int:
    """Leaves a row for each run that was cut off, and returns how many there are."""
    cut_off = run.journal.in_flight(call.key)
    for number in range(1, cut_off + 1):
        event_id = fingerprint(call.key, "interrupted", number)[:32]
        run.emit(call.event.model_copy(update={"event_id": event_id, "outcome": "interrupted"}))
    return cut_off


def _respect_unknown_outcome(run: Run, call: ToolCall) -> None:
    """Raises UnknownOutcomeError for a call cut off earlier that may not simply run again."""
    cut_off = _account_for_lost_runs(run, call)
    if cut_off and call.on_unknown != "rerun":
        raise UnknownOutcomeError(
            f"{call.label} was running when its process died: whether it took effect is unknown, "
            f"and its on_unknown is '{call.on_unknown}'"
        )


@dataclass(slots=True)
class ToolDesk:
    """A ``ToolRunner`` for one attempt of one step: finds, binds, runs, records."""

    run: Run
    position: Position
    context: ToolContext
    allowed: tuple[str, ...]
    agent_name: str | None = None
    on_unknown: OnUnknown | None = None
    calls: int = 0

    async def run_tool(
        self, name: str, arguments: dict[str, Any], *, turn: int, index: int
    ) -> ToolResult:
        """The tool's result, run or replayed; ``is_error`` where it ended badly.

        Raises:
            UnknownToolError: this step does not have the tool.
            UnknownOutcomeError: see ``PlanStep.on_unknown``.
        """
        call = self._call(name, arguments, turn, index)
        with detached():
            state = await state_of(call_tool, call=call, key=call.key, label=call.label)
        raise_if_unsaved(self.run.store)
        record = await _record_of(state)
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
            text=self._shown(result, turn, index),
            images=result.images,
            is_error=result.is_error,
        )
        return ToolAnswer(part=part, state=result.state)

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
        return ToolCall(
            tool=tool.bind(self.context),
            arguments=arguments,
            key=self.position.tool_key(self.run.key, turn, index),
            label=f"{step_id}/{name}",
            event=event,
            on_unknown=self.on_unknown or tool.on_unknown,
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
class AgentTools:
    """A ``ToolDesk`` behind the port that the agent loop knows."""

    desk: ToolDesk

    async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer:
        return await self.desk.run_call(call, turn=turn, index=index)


def _refused(call: ToolCallPart, problem: str) -> ToolAnswer:
    part = ToolResultPart(call_id=call.id, name=call.name, text=problem, is_error=True)
    return ToolAnswer(part=part)


async def _record_of(state: State[Any]) -> ToolRunRecord:
    outcome = await state.aresult(raise_on_failure=False)
    match outcome:
        case ToolRunRecord():
            return outcome
        case ToolFailedError():
            return outcome.details["record"]
        case BaseException():
            raise outcome
        case _:
            raise TypeError(f"a tool run left {type(outcome).__name__}")
