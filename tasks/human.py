"""A person's answer, by a form in the Prefect UI, ``manus answer`` or Prefect's HTTP API.

The flow run shows as Paused while it is asked; Prefect has one pause at a time, so the questions
of a run queue up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.input.run_input import Keyset, RunInput, keyset_from_paused_state
from prefect.logging import get_run_logger
from prefect.states import Paused, Running
from prefect.utilities.engine import propose_state
from pydantic import Field, create_model

from core.base import Value
from core.errors import StaleRecordError
from core.fingerprint import fingerprint
from core.ports import Question
from tasks.deadline import StepClock
from tasks.progress import QuestionAnswered, QuestionAsked
from tasks.run import Run
from tasks.store import once

POLL_SECONDS = 1.0
A_YEAR = 365 * 24 * 3600
"""Prefect fails a run whose pause it sees expire; the time for an answer is kept here instead."""


class AnswerRecord(Value):
    """What is committed: the question's hash, and what was said, or taken for want of an answer."""

    question_hash: str
    answer: str
    by: Literal["person", "default"]


@dataclass(slots=True)
class Operator:
    """The port ``Human`` for one place in a run. ``key`` names the records of its answers."""

    run: Run
    key: str
    label: str
    clock: StepClock
    asked: int = 0

    async def ask(self, question: Question) -> str:
        self.asked += 1
        key = f"{self.key}-q{self.asked:02d}"
        asked = fingerprint(question)
        record, _ = await once(self.run.store, key, lambda: self._ask(question, asked))
        if record.question_hash != asked:
            raise StaleRecordError(f"record '{key}' answers another question than this one")
        return record.answer

    async def _ask(self, question: Question, asked: str) -> AnswerRecord:
        seconds = question.timeout_seconds
        seconds = seconds or self.run.services.settings.run.answer_timeout_seconds
        async with self.clock.standing_still(), self.run.asking:
            self.run.tell(QuestionAsked(self.label, question))
            get_run_logger().info("%s asks: %s", self.label, question.text)
            answer = await _paused_for(self.run, self.label, question, seconds)
            self.run.tell(QuestionAnswered(self.label, answer))
        if answer is not None:
            return AnswerRecord(question_hash=asked, answer=answer, by="person")
        if question.default is None:
            raise TimeoutError(f"nobody answered within {seconds:g} s")
        return AnswerRecord(question_hash=asked, answer=question.default, by="default")


async def _paused_for(run: Run, label: str, question: Question, seconds: float) -> str | None:
    """The answer, or None after ``seconds``."""
    flow_run_id = UUID(run.flow_run_id)
    state = Paused(timeout_seconds=A_YEAR, reschedule=False, pause_key=uuid4().hex)
    keys = keyset_from_paused_state(state)
    state.state_details.run_input_keyset = {str(name): key for name, key in keys.items()}
    form = form_of(label, question)
    await form.asave(keys, flow_run_id=flow_run_id)  # the form is there before the run shows Paused
    async with get_client() as client:
        await propose_state(client, state, flow_run_id=flow_run_id)
        try:
            async with asyncio.timeout(seconds):
                return await _answer(form, keys, flow_run_id)
        except TimeoutError:
            pass
        if await _is_paused(flow_run_id):
            await propose_state(client, Running(), flow_run_id=flow_run_id)
            return None
        return await _answer(form, keys, flow_run_id)  # it came in the last moment


def form_of(label: str, question: Question) -> type[RunInput]:
    """The question as the UI draws it: a list to choose from, or a text field."""
    kind: Any = Literal[question.choices] if question.choices else str
    title = "Answer" if question.default is None else f"Answer (default: {question.default})"
    model = create_model("Answer", __base__=RunInput, answer=(kind, Field(title=title)))
    return model.with_initial_data(description=f"**{label}** asks:\n\n{question.text}")


async def _answer(form: type[RunInput], keys: Keyset, flow_run_id: UUID) -> str:
    # What is waited for is on the server.
    while await _is_paused(flow_run_id):  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
    given: Any = await form.aload(keys, flow_run_id=flow_run_id)
    return given.answer


async def _is_paused(flow_run_id: UUID) -> bool:
    """A server out of reach is asked again: an answer may take hours, and a restart minutes."""
    while True:
        try:
            async with get_client() as client:
                flow_run = await client.read_flow_run(flow_run_id)
        except HTTPError as error:
            get_run_logger().warning("cannot ask whether there is an answer: %s", error)
            await asyncio.sleep(POLL_SECONDS)
            continue
        # Cancelling is for the run's watcher to see, which ends this wait.
        return flow_run.state is not None and not flow_run.state.is_running()
