"""The questions that runs wait with, and answering them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from core.base import Value, is_object
from core.errors import BadInputError, RunNotFoundError
from gateway.runs import RUN_TAG

_ASKED_AT_ONCE = 200


class OpenQuestion(Value):
    """``run_key`` is the run's, ``flow_run_id`` of its flow run that waits."""

    run_key: str
    flow_run_id: str
    flow_run_name: str
    text: str
    choices: tuple[str, ...] = ()


async def open_questions() -> tuple[OpenQuestion, ...]:
    """Every question that waits for an answer, the oldest run first."""
    paused = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=paused),
            sort=FlowRunSort.START_TIME_ASC,
            limit=_ASKED_AT_ONCE,
        )
        found = [await _question(client, run) for run in runs]
    return tuple(question for question in found if question)


async def answer(run: str, text: str) -> OpenQuestion:
    """Answers the question that a run waits with.

    Args:
        run: the key of the run, or the beginning of it; or the id of the flow run that waits.
        text: the answer; one of the choices where there are some.

    Raises:
        RunNotFoundError: no such run waits for an answer, or several do.
        BadInputError: the answer does not fit; the run goes on waiting.
    """
    waiting = [
        q for q in await open_questions() if q.run_key.startswith(run) or q.flow_run_id == run
    ]
    if len(waiting) != 1:
        there = ", ".join(q.run_key[:8] for q in waiting) or "none"
        raise RunNotFoundError(f"run '{run}': waiting runs that fit: {there}")
    (question,) = waiting
    if question.choices and text not in question.choices:
        raise BadInputError(f"answer '{text}': must be one of {', '.join(question.choices)}")
    async with get_client() as client:
        flow_run_id = UUID(question.flow_run_id)
        result = await client.resume_flow_run(flow_run_id, run_input={"answer": text})
    if result.status.value != "ACCEPT":
        raise BadInputError(f"answer '{text}': not taken: {result.details}")
    return question


async def _question(client: PrefectClient, run: FlowRun) -> OpenQuestion | None:
    """None for a pause that is not ours, or over by now."""
    keys = run.state.state_details.run_input_keyset if run.state else None
    if not keys:
        return None
    schema = await _input(client, run.id, keys["schema"])
    fields = schema.get("properties") if is_object(schema) else None
    if not is_object(fields) or set(fields) != {"answer"}:
        return None
    choices: list[str] = fields["answer"].get("enum") or []
    tagged = [t.removeprefix(RUN_TAG) for t in run.tags if t.startswith(RUN_TAG)]
    return OpenQuestion(
        run_key=tagged[0] if tagged and tagged[0] != "new" else str(run.id),
        flow_run_id=str(run.id),
        flow_run_name=run.name,
        text=str(await _input(client, run.id, keys["description"])),
        choices=tuple(choices),
    )


async def _input(client: PrefectClient, flow_run_id: UUID, key: str) -> Any:
    return json.loads(await client.read_flow_run_input(flow_run_id, key))
