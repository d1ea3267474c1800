"""What steps and runs leave behind."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from core.base import Value
from core.completion import TokenUsage


class StepStatus(StrEnum):
    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BLOCKED = "blocked"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def final(self) -> bool:
        return self not in (StepStatus.NOT_STARTED, StepStatus.IN_PROGRESS)


class FileRef(Value):
    """A file that a step left. ``path`` is relative to the step's directory, with ``/``."""

    path: str
    size_bytes: int
    sha256: str


class Spend(Value):
    """What something cost so far.

    ``cost_usd`` sums the known prices; ``unpriced_calls`` counts the calls whose price is unknown.
    """

    model_calls: int = 0
    tool_calls: int = 0
    usage: TokenUsage = TokenUsage()
    cost_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            model_calls=self.model_calls + other.model_calls,
            tool_calls=self.tool_calls + other.tool_calls,
            usage=self.usage + other.usage,
            cost_usd=self.cost_usd + other.cost_usd,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )


class ReusedFrom(Value):
    """Where a step's result was taken over from: a run, when it was done, and what that cost."""

    run_key: str
    completed_at: datetime
    age_seconds: float
    spend: Spend = Spend()


class StepResult(Value):
    """A completed step, as committed. ``summary`` is for readers, ``output`` for templates.

    ``reused_from`` is set where another run did the work; ``spend`` is then nothing.
    ``untrusted``: strangers' words were in view when it was made.
    """

    step_id: str
    attempt: int
    summary: str
    output: Any = None
    files: tuple[FileRef, ...] = ()
    turns: int = 0
    spend: Spend = Spend()
    reused_from: ReusedFrom | None = None
    untrusted: bool = False


class StepReport(Value):
    """A step in the run's report, whatever became of it.

    ``reason`` and ``error_type`` (a class name) are set where it failed, ``reason`` alone where it
    did not run. ``reused`` marks a result that was committed before this flow run, by this run or,
    where ``result.reused_from`` says so, by another. ``notes`` are what agents noted on it.
    """

    step_id: str
    title: str
    status: StepStatus
    attempts: int = 0
    reason: str | None = None
    error_type: str | None = None
    result: StepResult | None = None
    duration_seconds: float = 0.0
    reused: bool = False
    notes: tuple[str, ...] = ()


class RunReport(Value):
    """What ``plan_and_run`` returns, and ``report.json``. ``directory`` holds the run's files.

    ``replaced`` are the steps of earlier plan versions that ended badly and were planned anew.
    """

    run_key: str
    status: Literal["completed", "failed", "cancelled", "over_budget"]
    goal: str
    plan_title: str
    plan_version: int
    started_at: datetime
    finished_at: datetime
    steps: tuple[StepReport, ...]
    summary: str
    spend: Spend
    directory: str
    replaced: tuple[StepReport, ...] = ()

    @property
    def counts(self) -> dict[StepStatus, int]:
        return {s: sum(step.status is s for step in self.steps) for s in StepStatus}

    @property
    def headline(self) -> str:
        """For example ``1 failed, 2 skipped, 5 completed``; without the statuses nobody has."""
        shown = (StepStatus.FAILED, StepStatus.BLOCKED, StepStatus.SKIPPED, StepStatus.NOT_STARTED)
        parts = [f"{self.counts[s]} {s.value}" for s in shown if self.counts[s]]
        return ", ".join([*parts, f"{self.counts[StepStatus.COMPLETED]} completed"])
