"""The plan as the agent of one step may see it and write on it."""

from __future__ import annotations

from dataclasses import dataclass

from core.plan import Plan
from core.result import StepStatus
from tasks.journal import StepNote
from tasks.run import Run


@dataclass(frozen=True, slots=True)
class StepBook:
    """The port ``PlanBook`` for one step."""

    run: Run
    step_id: str

    def read(self) -> str:
        return overview(self.run, self.run.plans[-1], mine=self.step_id)

    def note(self, text: str) -> None:
        """Idempotent: the same note on the same step is kept once."""
        if text not in self.run.journal.notes(self.step_id):
            self.run.journal.append(StepNote(step_id=self.step_id, text=text))


def overview(run: Run, plan: Plan, mine: str | None = None) -> str:
    """The plan's steps, a line each, with status, reason and notes."""
    lines = [f"{plan.title} (version {plan.version})", f"Goal: {plan.goal or plan.title}"]
    for step in plan.steps:
        report = run.settled.get(step.id)
        waiting = StepStatus.IN_PROGRESS if step.id in run.begun else StepStatus.NOT_STARTED
        status = (report.status if report else waiting).value
        needs = f", needs {', '.join(step.depends_on)}" if step.depends_on else ""
        reason = f": {report.reason}" if report and report.reason else ""
        yours = " (your step)" if step.id == mine else ""
        lines.append(f"- {step.id}{yours} [{status}{needs}]{reason} {step.title}")
        lines += [f"  note: {note}" for note in run.journal.notes(step.id)]
    return "\n".join(lines)
