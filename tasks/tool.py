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
    EnvironmentUnusableError,
    ToolFailedError,
    UnknownOutcomeError,
)
from core.fingerprint import fingerprint
from core.plan import OnUnknown
from core.ports import Question
from core.result import Spend
from core.usage import UsageEvent
from tasks.deadline import StepClock
from tasks.human import Operator
from tasks.journal import CallBegun, CallFailed
from tasks.policies import KEY_PARAMETER
from tasks.run import Run, current_run
from tasks.store import once, read_record
from tools.base import BaseTool, ToolResult
from tools.invoke import invoke

RUN_AGAIN = "run it again"


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
    clock: StepClock

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
    await _respect_unknown_outcome(run, call)
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
    run.meter.add(Spend(tool_calls=1))
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


async def _respect_unknown_outcome(run: Run, call: ToolCall) -> None:
    """Raises UnknownOutcomeError for a call cut off earlier that may not simply run again."""
    cut_off = _account_for_lost_runs(run, call)
    if not cut_off or call.on_unknown == "rerun":
        return
    if call.on_unknown == "ask":
        await _ask_what_to_do(run, call, cut_off)
    else:
        raise UnknownOutcomeError(
            f"{call.label} was running when its process died: whether it took effect is unknown, "
            f"and its on_unknown is '{call.on_unknown}'"
        )


async def _ask_what_to_do(run: Run, call: ToolCall, cut_off: int) -> None:
    """Raises UnknownOutcomeError unless a person says that the call may run again.

    Once: of a run that is cut off as well, a person is asked anew.
    """
    human = Operator(run, f"{call.key}-unknown{cut_off:02d}", call.label, call.clock)
    question = Question(
        text=f"`{call.label}` was running when its process died: whether it took effect is "
        "unknown. What now?",
        choices=(RUN_AGAIN, "do not run it"),
        default="do not run it",
    )
    if await human.ask(question) != RUN_AGAIN:
        raise UnknownOutcomeError(
            f"{call.label} was running when its process died, and nobody said to run it again"
        )


async def record_of(state: State[Any]) -> ToolRunRecord:
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
