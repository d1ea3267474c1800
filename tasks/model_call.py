"""A model call that survives its process: asked once, committed, replayed for ever after.

It is a Prefect transaction on the run's result store, keyed by position. What was asked is stored
with the answer; an answer to another question is never replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from core.base import Value, as_stored
from core.completion import Completion, CompletionRequest
from core.errors import ManusError, StaleRecordError
from core.fingerprint import fingerprint
from core.ports import CallKind, FailedTry
from core.result import Spend
from core.usage import UsageEvent
from tasks.accounting import with_answer, with_failure
from tasks.budget import spend_of
from tasks.journal import CallBegun, CallFailed
from tasks.progress import Progress
from tasks.run import Position, Run
from tasks.spending import set_aside
from tasks.store import once


class ModelCallRecord(Value):
    """What is committed: the question's hash, the answer, and the row that accounts for it."""

    request_hash: str
    completion: Completion
    event: UsageEvent


@dataclass(slots=True)
class DurableModel:
    """A ``ModelClient`` for one attempt of one step. ``spend`` adds up its calls."""

    run: Run
    position: Position
    agent_name: str | None = None
    spend: Spend = field(default_factory=Spend)
    on_answer: Callable[[int, Completion], None] | None = None

    async def complete(
        self, request: CompletionRequest, *, turn: int, kind: CallKind = "turn"
    ) -> Completion:
        """The committed answer at this position, asked for first where there is none.

        Raises:
            BudgetExceededError: before asking.
            CorruptRecordError: the record is damaged.
            StaleRecordError: the record answers another request.
            AllDeploymentsFailedError, ProviderRejectedError: from the router.
        """
        key = self.position.model_key(self.run.key, turn, kind)
        return await self.complete_at(key, request, turn)

    async def complete_at(self, key: str, request: CompletionRequest, turn: int) -> Completion:
        """``complete`` under another record key of the same attempt."""
        asked = fingerprint(request)
        record, replayed = await once(
            self.run.store, key, lambda: self._ask(request, turn, key, asked)
        )
        if record.request_hash != asked:
            raise StaleRecordError(f"record '{key}' answers another request than this one")
        self.run.emit(record.event.model_copy(update={"replayed": replayed}))
        self.spend += spend_of(record.completion)
        self.run.tell(
            Progress(
                self.position.step_id, turn=turn, step_spend=self.spend, spend=self.run.meter.spend
            )
        )
        if self.on_answer:
            self.on_answer(turn, record.completion)
        return record.completion

    async def _ask(
        self, request: CompletionRequest, turn: int, key: str, asked: str
    ) -> ModelCallRecord:
        self._account_for_lost_calls(key, turn)
        estimate = self.run.services.router.estimate_call(request)
        limits = (self.run.meter, self.run.services.ledger)
        async with set_aside(*limits, estimate, self.run.options.tags) as bill:
            self.run.journal.append(CallBegun(key=key, kind="model", request_hash=asked))
            tries: list[FailedTry] = []
            try:
                completion = await self._answer(request, turn, key, tries)
                bill.spent = spend_of(completion)
            finally:
                for failed in tries:
                    self.run.emit(with_failure(self._row(turn), failed, request.route))
        event = self._event(turn, request, completion, key)
        return ModelCallRecord(request_hash=asked, completion=completion, event=event)

    async def _answer(
        self, request: CompletionRequest, turn: int, key: str, tries: list[FailedTry]
    ) -> Completion:
        if self.position.attempt > 1:  # kept answers would repeat the attempt that failed
            request = request.model_copy(update={"cache_refresh": True})
        try:
            answer = await self.run.services.router.generate_completion(
                request, on_failed_try=tries.append
            )
        except ManusError:
            self.run.journal.append(CallFailed(key=key))
            raise
        except BaseException:  # cancelled or past a deadline: this position may never come again
            self._account_for_lost_calls(key, turn)
            raise
        return as_stored(answer)

    def _account_for_lost_calls(self, key: str, turn: int) -> None:
        """A call cut off, by a kill or a deadline, may have been paid: the usage rows say so."""
        for number in range(1, self.run.journal.in_flight(key) + 1):
            self.run.emit(
                self._row(turn).model_copy(
                    update={
                        "event_id": fingerprint(key, "interrupted", number)[:32],
                        "outcome": "interrupted",
                    }
                )
            )

    def _row(self, turn: int) -> UsageEvent:
        return UsageEvent(
            event_id="",
            kind="model_call",
            run_key=self.run.key,
            step_id=self.position.step_id,
            attempt=self.position.attempt,
            turn=turn,
            operation_name="chat",
            agent_name=self.agent_name,
        )

    def _event(
        self, turn: int, request: CompletionRequest, completion: Completion, key: str
    ) -> UsageEvent:
        row = with_answer(self._row(turn), completion)
        return row.model_copy(update={"event_id": fingerprint(key)[:32], "route": request.route})
