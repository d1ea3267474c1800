"""What onlookers of a run are told."""

from __future__ import annotations

from dataclasses import dataclass

from core.plan import Plan
from core.ports import Question
from core.result import Spend, StepStatus


@dataclass(frozen=True, slots=True)
class PlanReady:
    """The run has its plan: drafted, loaded or revised."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Progress:
    """A step changed, or what is not None of it. ``spend`` is the run's, not the step's.

    ``tool`` is one that is called now, or whose result is being replayed.
    """

    step_id: str
    status: StepStatus | None = None
    turn: int | None = None
    tool: str | None = None
    reason: str | None = None
    step_spend: Spend | None = None
    spend: Spend | None = None


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """A person is asked; the run shows as Paused until there is an answer."""

    label: str
    question: Question


@dataclass(frozen=True, slots=True)
class QuestionAnswered:
    """``answer`` is None where nobody answered in time."""

    label: str
    answer: str | None


RunEvent = PlanReady | Progress | QuestionAsked | QuestionAnswered
