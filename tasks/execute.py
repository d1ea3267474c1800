"""What the scheduler calls: takes a step through its attempts to an outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State

from core.errors import (
    AllDeploymentsFailedError,
    ApprovalDeniedError,
    BudgetExceededError,
    CorruptRecordError,
    EnvironmentUnusableError,
    ManusError,
    PlanError,
    ProviderRejectedError,
    RetryableError,
    StaleRecordError,
    StepFailedError,
    UnknownOutcomeError,
)
from core.fingerprint import fingerprint
from core.plan import Plan, PlanStep
from core.result import StepReport, StepResult, StepStatus
from core.usage import UsageEvent
from tasks.abilities import context_tokens
from tasks.conversation import from_outside
from tasks.inputs import StepInputs, brief, resolve, step_fingerprint
from tasks.journal import AttemptFailed
from tasks.policies import is_infrastructure_failure, state_of
from tasks.progress import Progress
from tasks.reuse import keep, take_over
from tasks.run import Position, Run
from tasks.schedule import Work, run_dag
from tasks.step import StepWork, allowed_tools, mark_skipped, route_of, run_step
from tasks.store import raise_if_unsaved

KEEPS_ATTEMPT = (
    RetryableError,
    AllDeploymentsFailedError,
    ProviderRejectedError,
    BudgetExceededError,
    CorruptRecordError,
    EnvironmentUnusableError,
)
"""What stopped an attempt from outside: once removed, the same attempt goes on from its records."""

MAX_STALE_ATTEMPTS = 3
"""A step that asks something else each time it is replayed would else pay for ever."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A settled step.

    ``state`` is what Prefect draws the edges to its dependants from, None where this flow run has
    none of it yet. ``revisable``: it ended badly, in a way that a plan may be made around.
    ``untrusted``: what it says may hold strangers' words.
    """

    report: StepReport
    state: State[Any] | None
    revisable: bool = False
    untrusted: bool = False


@dataclass(frozen=True, slots=True)
class StepExecutor:
    """Executes and skips the steps of one plan.

    ``upstream`` are the states that its first steps wait for. ``kept`` are outcomes of an earlier
    version of the plan that hold in this one.
    """

    run: Run
    plan: Plan
    upstream: tuple[State[Any], ...] = ()
    kept: Mapping[str, StepOutcome] = field(default_factory=dict[str, StepOutcome])

    async def run_all(self) -> dict[str, StepOutcome]:
        """Settles every step of the plan."""
        work = Work(execute=self.execute, skip=self.skip, passes=self.passes)
        return await run_dag(
            {s.id: s.depends_on for s in self.plan.steps},
            work,
            self.run.slots,
        )

    def last_states(self, outcomes: Mapping[str, StepOutcome]) -> list[State[Any]]:
        """The states of the steps that no other step waits for."""
        ends = [step_id for step_id, below in self.plan.dependants().items() if not below]
        return [state for i in ends if (state := outcomes[i].state)]

    def passes(self, step_id: str, outcome: StepOutcome) -> bool:
        return outcome.report.status is StepStatus.COMPLETED or (
            self.plan.step(step_id).optional and outcome.report.status is not StepStatus.SKIPPED
        )

    async def skip(self, step_id: str, upstream: Mapping[str, StepOutcome]) -> StepOutcome:
        blockers = [d for d, outcome in upstream.items() if not self.passes(d, outcome)]
        reason = f"needs {', '.join(blockers)}"
        state = await state_of(mark_skipped, label=step_id, reason=reason, after=_states(upstream))
        self.run.tell(Progress(step_id, StepStatus.SKIPPED, reason=reason))
        report = StepReport(
            step_id=step_id,
            title=self.plan.step(step_id).title,
            status=StepStatus.SKIPPED,
            reason=reason,
            attempts=self.run.journal.attempts(step_id),
        )
        self.run.settled[step_id] = report
        return StepOutcome(report, state)

    async def execute(self, step_id: str, upstream: Mapping[str, StepOutcome]) -> StepOutcome:
        """Runs attempts until one completes, none is left, or the cause of failure is outside."""
        step = self.plan.step(step_id)
        if step_id in self.kept:
            return await self._kept(step_id, _states(upstream) or self.upstream)
        self.run.begun.add(step_id)
        self.run.tell(Progress(step_id, StepStatus.IN_PROGRESS))
        began = time.monotonic()
        inputs = self._inputs(step, upstream)
        after = _states(upstream) or self.upstream
        left, stale = step.retries, 0
        while True:
            is_first = not self.run.journal.attempts(step.id)
            attempt = await self._attempt_number(step, inputs)
            state = await self._attempt(StepWork(step, inputs, attempt), after, is_first=is_first)
            outcome = await state.aresult(raise_on_failure=False)
            if not isinstance(outcome, StepResult):
                self._note_failure(step, attempt, outcome, time.monotonic() - began)
                if isinstance(outcome, StaleRecordError) and stale < MAX_STALE_ATTEMPTS:
                    stale += 1
                    continue  # a new attempt, with records of its own
                if left and _is_honest(outcome) and not isinstance(outcome, UnknownOutcomeError):
                    left -= 1
                    continue
            return self._settled(step, state, outcome, time.monotonic() - began)

    async def _kept(self, step_id: str, after: Sequence[State[Any]]) -> StepOutcome:
        """An outcome of an earlier version. Its record shows it in a flow run that has no bar."""
        outcome = self.kept[step_id]
        if outcome.state is not None or outcome.report.result is None:
            return outcome
        nothing_to_do = PlanError(f"step '{step_id}' is finished")
        attempt = outcome.report.result.attempt
        work = StepWork(self.plan.step(step_id), nothing_to_do, attempt)
        return replace(outcome, state=await self._attempt(work, after, is_first=False))

    def _inputs(
        self, step: PlanStep, upstream: Mapping[str, StepOutcome]
    ) -> StepInputs | PlanError:
        briefs = tuple(
            brief(self.plan.step(d), outcome.report.result) for d, outcome in upstream.items()
        )
        tool = self.run.services.tools.get(step.tool) if step.tool else None
        try:
            upstream_inputs = from_outside(self.run, step.id, briefs)
            return resolve(self.plan, step, upstream_inputs, tool.verbatim if tool else frozenset())
        except PlanError as error:
            return error

    async def _attempt_number(self, step: PlanStep, inputs: StepInputs | PlanError) -> int:
        if isinstance(inputs, PlanError):
            return self.run.journal.begin_attempt(step.id, fingerprint(str(inputs)), "")
        asked = step_fingerprint(step, inputs)
        current = self.run.journal.current_attempt(step.id, asked)
        if current:
            key = Position(step.id, current).step_key(self.run.key)
            if await self.run.store.aexists(key):
                return current
        return self.run.journal.begin_attempt(step.id, asked, self._setup(step))

    def _setup(self, step: PlanStep) -> str:
        agent = self.run.services.agents.get(step.agent) if step.kind == "agent" else None
        tools = self.run.services.tools.definitions(
            allowed_tools(step, agent, self.run.services.tools.names)
        )
        route = route_of(self.run, step)
        tokens = context_tokens(self.run.services.router, route, agent) if agent else None
        return fingerprint(agent, route, tools, tokens)

    async def _attempt(
        self, work: StepWork, after: Sequence[State[Any]], *, is_first: bool = False
    ) -> State[Any]:
        if taken_over := await take_over(self.run, work, after, is_first=is_first):
            return taken_over
        settings = self.run.services.settings.run
        task = _step_task(settings.infrastructure_retries, settings.retry_delay_seconds)
        key = Position(work.step.id, work.attempt).step_key(self.run.key)
        state = await state_of(task, work=work, key=key, label=work.label, after=after)
        raise_if_unsaved(self.run.store)
        await keep(self.run, work, state)
        return state

    def _note_failure(self, step: PlanStep, attempt: int, error: Any, duration: float) -> None:
        if _is_honest(error):
            self.run.journal.append(
                AttemptFailed(step_id=step.id, attempt=attempt, reason=str(error))
            )
        mark = (self.run.key, step.id, attempt, self.run.flow_run_id, "step failed")
        self.run.emit(
            UsageEvent(
                event_id=fingerprint(*mark)[:32],
                kind="step",
                outcome="error",
                error_type=type(error).__name__,
                run_key=self.run.key,
                step_id=step.id,
                attempt=attempt,
                operation_name="invoke_agent",
                agent_name=step.agent if step.kind == "agent" else None,
                duration_seconds=duration,
            )
        )

    def _settled(
        self, step: PlanStep, state: State[Any], outcome: Any, duration: float
    ) -> StepOutcome:
        completed = outcome if isinstance(outcome, StepResult) else None
        status = StepStatus.COMPLETED if completed else _bad_status(outcome)
        reason = None if completed else f"{_kind(outcome)}{outcome}"
        self.run.tell(Progress(step.id, status, reason=reason))
        report = StepReport(
            step_id=step.id,
            title=step.title,
            status=status,
            attempts=self.run.journal.attempts(step.id),
            reason=reason,
            error_type=None if completed else type(outcome).__name__,
            result=completed,
            duration_seconds=duration,
            reused=state.name == "Cached" or bool(completed and completed.reused_from),
            notes=self.run.journal.notes(step.id),
        )
        self.run.settled[step.id] = report
        failed = isinstance(outcome, StepFailedError)
        return StepOutcome(
            report,
            state,
            revisable=completed is None and _is_revisable(outcome),
            untrusted=completed.untrusted if completed else failed and outcome.untrusted,
        )


@cache
def _step_task(retries: int, retry_delay_seconds: float) -> Task[..., Any]:
    """``run_step`` under these limits. Making one costs milliseconds, most steps share one."""
    return run_step.with_options(
        retries=retries,
        retry_delay_seconds=retry_delay_seconds,
        retry_condition_fn=is_infrastructure_failure,
    )


def _states(upstream: Mapping[str, StepOutcome]) -> tuple[State[Any], ...]:
    return tuple(o.state for o in upstream.values() if o.state)


def _is_honest(error: Any) -> bool:
    """Whether a replay could only repeat it. Cancellation is no outcome at all.

    A passed deadline is an OSError to Python, and an end of the attempt to us.
    """
    if isinstance(error, TimeoutError):
        return True
    return not isinstance(error, (*KEEPS_ATTEMPT, OSError, asyncio.CancelledError))


def _is_revisable(error: Any) -> bool:
    """A person's refusal is not planned around, nor a call whose effect nobody knows."""
    refused = isinstance(error, ApprovalDeniedError) or (
        isinstance(error, StepFailedError) and error.refused
    )
    return _is_honest(error) and not refused and not isinstance(error, UnknownOutcomeError)


def _bad_status(error: Any) -> StepStatus:
    blocked = isinstance(error, BudgetExceededError) or (
        isinstance(error, StepFailedError) and error.blocked
    )
    return StepStatus.BLOCKED if blocked else StepStatus.FAILED


def _kind(error: Any) -> str:
    """The class of an unforeseen exception; our own errors say what happened by themselves."""
    return "" if isinstance(error, ManusError) else f"{type(error).__name__}: "
