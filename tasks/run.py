"""One run while it lives: its key, directory, journal, budget and who watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from core.plan import Plan
from core.ports import CallKind
from core.result import FileRef, StepReport
from core.run import ApprovalPolicy, RunOptions
from core.usage import UsageEvent
from tasks.budget import BudgetMeter
from tasks.deadline import StepSlots
from tasks.journal import Journal
from tasks.progress import RunEvent
from tasks.services import Services
from tasks.store import RecordStore
from tools.resources import Resources
from tools.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Run:
    """Passed to tasks by context, not by parameter: Prefect would record and hash it.

    ``plans`` are its plan's versions, ``begun`` and ``settled`` the steps that began and ended, as
    far as it has come. ``replaced`` ended badly and were planned anew;
    ``unrevised`` is what kept a plan from being revised.

    ``resources`` are what its tools keep open. ``slots`` are its steps' to run in, ``asking`` is
    held by whoever puts a question to a person.

    ``data`` are the caller's files, ``carried`` those of the run that this one goes on from.

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
    carried: tuple[FileRef, ...] = ()
    workflow: str = "plan_and_run"
    resources: Resources = field(default_factory=Resources)
    slots: StepSlots = field(default_factory=lambda: StepSlots(1))
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    plans: list[Plan] = field(default_factory=list[Plan])
    begun: set[str] = field(default_factory=set[str])
    settled: dict[str, StepReport] = field(default_factory=dict[str, StepReport])
    replaced: list[StepReport] = field(default_factory=list[StepReport])
    unrevised: list[BaseException] = field(default_factory=list[BaseException])
    listeners: list[Callable[[RunEvent], None]] = field(
        default_factory=list[Callable[[RunEvent], None]]
    )

    @property
    def approvals(self) -> ApprovalPolicy:
        """The run's own policy, else the configuration's."""
        chosen = self.options.approvals
        if isinstance(chosen, str):
            return ApprovalPolicy(high_risk=chosen, untrusted=chosen)
        return chosen or self.services.settings.run.approvals

    def tell(self, event: RunEvent) -> None:
        for listener in (*self.services.listeners, *self.listeners):
            listener(event)

    def emit(self, event: UsageEvent) -> None:
        """Sends a usage row, marked with the run, its present flow run and its tags."""
        mark = {
            "run_key": self.key,
            "flow_run_id": self.flow_run_id,
            "tags": self.options.tags,
            "workflow_name": self.workflow,
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

    def model_key(self, run_key: str, turn: int, kind: CallKind = "turn") -> str:
        name = "model" if kind == "turn" else f"{kind}-model"
        return f"{run_key}/{self.step_id}/a{self.attempt}/t{turn:03d}-{name}"

    def tool_key(self, run_key: str, turn: int, index: int) -> str:
        return f"{run_key}/{self.step_id}/a{self.attempt}/t{turn:03d}-c{index:02d}-tool"

    def step_key(self, run_key: str) -> str:
        return f"{run_key}/{self.step_id}/a{self.attempt}/step"
