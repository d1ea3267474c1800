"""What onlookers of a run are told."""

from __future__ import annotations

from dataclasses import dataclass

from core.plan import Plan
from core.result import Spend, StepStatus


@dataclass(frozen=True, slots=True)
class PlanReady:
    """The run has its plan: drafted, loaded or revised."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Progress:
    """A step changed, or what is not None of it. ``spend`` is the run's, not the step's."""

    step_id: str
    status: StepStatus | None = None
    turn: int | None = None
    reason: str | None = None
    step_spend: Spend | None = None
    spend: Spend | None = None


RunEvent = PlanReady | Progress
