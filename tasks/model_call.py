"""A model call that survives its process: asked once, committed, replayed for ever after.

It is a Prefect transaction on the run's result store, keyed by position. What was asked is stored
with the answer; an answer to another question is never replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from core.base import Value, as_stored
from core.completion import Completion, CompletionRequest
from core.errors import ManusError, StaleRecordError
from core.fingerprint import fingerprint
from core.ports import FailedTry
from core.result import Spend
from core.usage import UsageEvent
from tasks.accounting import with_answer
from tasks.budget import spend_of
from tasks.journal import CallBegun, CallFailed
from tasks.progress import Progress
from tasks.run import Position, Run
from tasks.store import once

CHARS_PER_TOKEN = 3
"""For reservations before a call: on the safe side for prose, near the truth for code and JSON."""


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

    async def complete(self, request: CompletionRequest, *, turn: int) -> Completion:
        """The committed answer at this position, asked for first where there is none.

        Raises:
            BudgetExceededError: before asking.
            CorruptRecordError: the record is damaged.
            StaleRecordError: the record answers another request.
            AllDeploymentsFailedError, ProviderRejectedError: from the router.
        """
        key = self.position.model_key(self.run.key, turn)
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
        reserved = len(request.model_dump_json()) // CHARS_PER_TOKEN
        self.run.meter.reserve(reserved)
        self.run.journal.append(CallBegun(key=key, kind="model", request_hash=asked))
        spent = Spend()
        tries: list[FailedTry] = []
        try:
            completion = await self._answer(request, turn, key, tries)
            spent = spend_of(completion)
        finally:
            self.run.meter.settle(reserved, spent)
            for failed in tries:
                self._emit_failed(failed, turn, request)
        event = self._event(turn, request, completion, key)
        event = event.model_copy(update={"try_index": len(tries)})
        return ModelCallRecord(request_hash=asked, completion=completion, event=event)

    async def _answer(
        self, request: CompletionRequest, turn: int, key: str, tries: list[FailedTry]
    ) -> Completion:
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

    def _emit_failed(self, failed: FailedTry, turn: int, request: CompletionRequest) -> None:
        self.run.emit(
            self._row(turn).model_copy(
                update={
                    "event_id": uuid4().hex,
                    "outcome": "error",
                    "error_type": failed.error_type,
                    "provider_name": failed.provider,
                    "deployment": failed.deployment,
                    "request_model": failed.model,
                    "route": request.route,
                    "duration_seconds": failed.duration_seconds,
                    "try_index": failed.try_index,
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
