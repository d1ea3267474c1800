"""The DAG of a run on the terminal, live: status, turns, cost and time per step."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from core.plan import Plan
from core.result import Spend, StepStatus
from tasks.progress import PlanReady, QuestionAnswered, QuestionAsked, RunEvent

_STYLE = {
    StepStatus.NOT_STARTED: "dim",
    StepStatus.IN_PROGRESS: "cyan",
    StepStatus.COMPLETED: "green",
    StepStatus.BLOCKED: "yellow",
    StepStatus.FAILED: "red",
    StepStatus.SKIPPED: "dim yellow",
}


class LiveView:
    """Listens to a run. Entered, it draws a table on stderr; else it prints a line per change."""

    def __init__(self, run_key: str, console: Console) -> None:
        self._run_key = run_key
        self._console = console
        self._plan: Plan | None = None
        self._status: dict[str, StepStatus] = {}
        self._turns: dict[str, int] = {}
        self._cost: dict[str, Spend] = {}
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._spend = Spend()
        self._waiting = ""
        self._live: Live | None = None

    def __enter__(self) -> LiveView:
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4)
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def on_event(self, event: RunEvent) -> None:
        if isinstance(event, PlanReady):
            self._plan = event.plan
            self._tell(f"plan: {event.plan.title} ({len(event.plan.steps)} steps)")
            return
        if isinstance(event, QuestionAsked):
            self._waiting = (
                f"{event.label} asks; `manus answer {self._run_key[:8]}` shows the question"
            )
            self._tell(self._waiting)
            return
        if isinstance(event, QuestionAnswered):
            self._waiting = ""
            self._tell(f"{event.label}: {event.answer or 'nobody answered'}")
            return
        if event.turn:
            self._turns[event.step_id] = event.turn
        if event.step_spend:
            self._cost[event.step_id] = event.step_spend
        self._spend = event.spend or self._spend
        if event.status:
            self._note_status(event.step_id, event.status, event.reason)

    def _note_status(self, step_id: str, status: StepStatus, reason: str | None) -> None:
        self._status[step_id] = status
        times = self._ended if status.final else self._began
        times[step_id] = time.monotonic()
        self._tell(f"{step_id}: {status.value}{f': {brief_reason(reason)}' if reason else ''}")

    def _tell(self, line: str) -> None:
        if self._live is None:
            self._console.print(line, markup=False, highlight=False)

    def _table(self) -> Table:
        title = escape(self._plan.title) if self._plan else "drafting the plan"
        table = Table(title=title, caption=self._caption(), expand=True)
        for name in ("step", "needs", "status", "turns", "cost USD", "seconds"):
            table.add_column(name, justify="left" if name in ("step", "needs") else "right")
        for step in self._plan.steps if self._plan else ():
            status = self._status.get(step.id, StepStatus.NOT_STARTED)
            cost = self._cost.get(step.id)
            table.add_row(
                step.id,
                ", ".join(step.depends_on),
                f"[{_STYLE[status]}]{status.value}[/]",
                str(self._turns.get(step.id, "")),
                f"{cost.cost_usd:.4f}{'+?' if cost.unpriced_calls else ''}" if cost else "",
                self._seconds(step.id),
            )
        return table

    def _seconds(self, step_id: str) -> str:
        if step_id not in self._began:
            return ""
        return f"{self._ended.get(step_id, time.monotonic()) - self._began[step_id]:.1f}"

    def _caption(self) -> str:
        s = self._spend
        unknown = f", {s.unpriced_calls} calls of unknown price" if s.unpriced_calls else ""
        return (
            f"{s.model_calls} model calls, {s.usage.total_tokens} tokens, "
            f"{s.cost_usd:.4f} USD{unknown}"
            f"{f' - {self._waiting}' if self._waiting else ''}"
        )


def brief_reason(reason: str) -> str:
    """One line of it: the last, which is where a traceback says what happened."""
    lines = [line for line in reason.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
