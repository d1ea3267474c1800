"""A person's answer, by a form in the Prefect UI, ``manus answer`` or Prefect's HTTP API.

The flow run shows as Paused while it is asked; Prefect has one pause at a time, so the questions
of a run queue up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.input.actions import aread_flow_run_input
from prefect.input.run_input import RunInput, keyset_from_base_key, keyset_from_paused_state
from prefect.logging import get_run_logger
from prefect.states import Paused, Running
from prefect.utilities.engine import propose_state
from pydantic import Field, create_model

from core.base import Value
from core.errors import EnvironmentUnusableError, StaleRecordError
from core.fingerprint import fingerprint
from core.ports import Question
from tasks.deadline import StepClock
from tasks.journal import QuestionPut
from tasks.progress import QuestionAnswered, QuestionAsked
from tasks.run import Run
from tasks.store import once

T = TypeVar("T")
POLL_SECONDS = 1.0
END_SECONDS = 10.0
"""For taking a question back."""
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
        record, _ = await once(self.run.store, key, lambda: self._ask(key, question, asked))
        if record.question_hash != asked:
            raise StaleRecordError(f"record '{key}' answers another question than this one")
        return record.answer

    async def _ask(self, key: str, question: Question, asked: str) -> AnswerRecord:
        seconds = question.timeout_seconds
        seconds = seconds or self.run.services.settings.run.answer_timeout_seconds
        async with self.clock.standing_still(), self.run.asking:
            answer = await self._answer_to_the_dead(key, asked)
            if answer is None:
                self.run.tell(QuestionAsked(self.label, question))
                get_run_logger().info("%s asks: %s", self.label, question.text)
                answer = await _paused_for(self._put(key, asked), self.label, question, seconds)
                self.run.tell(QuestionAnswered(self.label, answer))
        if answer is not None:
            return AnswerRecord(question_hash=asked, answer=answer, by="person")
        if question.default is None:
            raise TimeoutError(f"nobody answered within {seconds:g} s")
        return AnswerRecord(question_hash=asked, answer=question.default, by="default")

    def _put(self, key: str, asked: str) -> QuestionPut:
        """Journaled first, so that an answer is found by whoever resumes the run."""
        put = QuestionPut(
            key=key,
            question_hash=asked,
            flow_run_id=self.run.flow_run_id,
            pause_key=uuid4().hex,
        )
        self.run.journal.append(put)
        return put

    async def _answer_to_the_dead(self, key: str, asked: str) -> str | None:
        """What was answered after the process had died that asked."""
        put = self.run.journal.question_put(key)
        if put is None or put.question_hash != asked:
            return None
        return await _given(put)


async def _paused_for(
    put: QuestionPut, label: str, question: Question, seconds: float
) -> str | None:
    """The answer, or None after ``seconds``.

    Raises:
        EnvironmentUnusableError: the server is out of reach.
    """
    try:
        await _pause(put, form_of(label, question))
        async with asyncio.timeout(seconds):
            # What is waited for is on the server. Cancelling is for the run's watcher to see.
            while not (await _state_of(put)).is_running():  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pass
    except HTTPError as error:
        raise EnvironmentUnusableError(f"{label} cannot ask: {error!r}") from error
    finally:
        await _end_pause(put)
    return await _given(put)  # also where it came in the last moment


async def _pause(put: QuestionPut, form: type[RunInput]) -> None:
    flow_run_id = UUID(put.flow_run_id)
    state = Paused(timeout_seconds=A_YEAR, reschedule=False, pause_key=put.pause_key)
    keys = keyset_from_paused_state(state)
    state.state_details.run_input_keyset = {str(name): key for name, key in keys.items()}
    await form.asave(keys, flow_run_id=flow_run_id)  # the form is there before the run shows Paused
    async with get_client() as client:
        await propose_state(client, state, flow_run_id=flow_run_id)


async def _end_pause(put: QuestionPut) -> None:
    """Whoever stops waiting takes the question back, or its answer would go nowhere.

    The next one would not be asked at all: a run cannot be paused twice.
    """
    flow_run_id = UUID(put.flow_run_id)
    try:
        async with asyncio.timeout(END_SECONDS), get_client() as client:
            state = (await client.read_flow_run(flow_run_id)).state
            if state and state.is_paused() and state.state_details.pause_key == put.pause_key:
                await propose_state(client, Running(), flow_run_id=flow_run_id)
    except (HTTPError, ObjectNotFound, TimeoutError) as error:
        get_run_logger().warning("the run still shows a question: %r", error)


def form_of(label: str, question: Question) -> type[RunInput]:
    """The question as the UI draws it: a list to choose from, or a text field."""
    kind: Any = Literal[question.choices] if question.choices else str
    title = "Answer" if question.default is None else f"Answer (default: {question.default})"
    model = create_model("Answer", __base__=RunInput, answer=(kind, Field(title=title)))
    return model.with_initial_data(description=f"**{label}** asks:\n\n{question.text}")


async def _given(put: QuestionPut) -> str | None:
    """What was answered so far."""
    keys = keyset_from_base_key(f"paused-{put.pause_key}")
    given: Any = await _patiently(
        lambda: aread_flow_run_input(keys["response"], flow_run_id=UUID(put.flow_run_id))
    )
    return given["answer"] if given else None


async def _state_of(put: QuestionPut) -> State[Any]:
    async def read() -> FlowRun:
        async with get_client() as client:
            return await client.read_flow_run(UUID(put.flow_run_id))

    state = (await _patiently(read)).state
    assert state is not None
    return state


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """A server out of reach is asked again: an answer may take hours, and a restart minutes."""
    while True:
        try:
            return await ask()
        except HTTPError as error:
            get_run_logger().warning("cannot ask whether there is an answer: %r", error)
            await asyncio.sleep(POLL_SECONDS)
