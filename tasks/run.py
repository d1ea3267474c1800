"""One run while it lives: its key, directory, journal, budget and who watches."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from core.plan import Plan
from core.result import FileRef, StepReport
from core.run import RunOptions
from core.usage import UsageEvent
from tasks.budget import BudgetMeter
from tasks.journal import Journal
from tasks.progress import RunEvent
from tasks.services import Services
from tasks.store import RecordStore
from tools.resources import Resources
from tools.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Run:
    """Passed to tasks by context, not by parameter: Prefect would record and hash it.

    ``plans`` are its plan's versions, ``settled`` the steps that ended, as far as it has come.

    ``resources`` are what its tools keep open.

    ``key`` is the id of the first flow run; it stays the same over resumes. ``flow_run_id`` is the
    present one's.
    """

    key: str
    flow_run_id: str
    directory: Path
    options: RunOptions
    services: Services
    store: RecordStore
    journal: Journal
    meter: BudgetMeter
    workspace: Workspace
    data: tuple[FileRef, ...] = ()
    resources: Resources = field(default_factory=Resources)
    plans: list[Plan] = field(default_factory=list[Plan])
    settled: dict[str, StepReport] = field(default_factory=dict[str, StepReport])
    listeners: list[Callable[[RunEvent], None]] = field(
        default_factory=list[Callable[[RunEvent], None]]
    )

    def tell(self, event: RunEvent) -> None:
        for listener in (*self.services.listeners, *self.listeners):
            listener(event)

    def emit(self, event: UsageEvent) -> None:
        """Sends a usage row, marked with the run, its present flow run and its tags."""
        mark = {
            "run_key": self.key,
            "flow_run_id": self.flow_run_id,
            "tags": self.options.tags,
            "workflow_name": "plan_and_run",
        }
        self.services.sink.emit(event.model_copy(update=mark))


_CURRENT: ContextVar[Run] = ContextVar("run")


def current_run() -> Run:
    """The run that this task belongs to. Raises LookupError outside of one."""
    return _CURRENT.get()


@contextmanager
def entered(run: Run) -> Generator[Run]:
    token = _CURRENT.set(run)
    try:
        yield run
    finally:
        _CURRENT.reset(token)


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a run something happens. Record keys are made of it, so it must be deterministic."""

    step_id: str
    attempt: int

    def model_key(self, run_key: str, turn: int) -> str:
        return f"{run_key}/{self.step_id}/a{self.attempt}/t{turn:03d}-model"

    def tool_key(self, run_key: str, turn: int, index: int) -> str:
        return f"{run_key}/{self.step_id}/a{self.attempt}/t{turn:03d}-c{index:02d}-tool"

    def step_key(self, run_key: str) -> str:
        return f"{run_key}/{self.step_id}/a{self.attempt}/step"
