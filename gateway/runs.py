"""Flow runs, as Prefect's API has them: the one place that talks to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Cancelling, Crashed, Pending

from core.base import Value
from core.errors import EnvironmentUnusableError
from tasks.cancel import RUN_TAG

STOPPING = "Stopping"
"""The name of a flow run's state between being asked to stop and having stopped."""


async def create_flow_run(
    flow: Flow[..., Any], parameters: dict[str, Any], *, name: str | None, tags: tuple[str, ...]
) -> FlowRun:
    """A pending flow run of ``flow`` in this process, not yet begun. ``parameters`` are JSON."""
    async with get_client() as client:
        return await client.create_flow_run(
            flow, parameters=parameters, name=name, tags=list(tags), state=Pending()
        )


async def execute(
    flow: Flow[..., Any], flow_run: FlowRun, parameters: dict[str, Any]
) -> State[Any]:
    """Runs it here, to its final state."""
    state = await run_flow_async(
        flow, flow_run=flow_run, parameters=parameters, return_type="state"
    )
    return cast(State[Any], state)


async def mark_crashed(run_key: str, message: str) -> int:
    """Marks the flow runs of a run that no process works on any more; returns how many.

    After SIGKILL a flow run stays Running for ever: nobody was left to say otherwise. Call it only
    with the run's lease free.
    """
    marked = 0
    async with get_client() as client:
        for flow_run in await _flow_runs(client, run_key):
            if flow_run.state and not flow_run.state.is_final():
                await client.set_flow_run_state(flow_run.id, Crashed(message=message), force=True)
                marked += 1
    return marked


async def mark_flow_runs_crashed(flow_run_ids: Iterable[str], message: str) -> None:
    """Marks those of them whose end nobody told. Call it when their processes are gone."""
    async with get_client() as client:
        for flow_run_id in flow_run_ids:
            try:
                flow_run = await client.read_flow_run(UUID(flow_run_id))
            except ObjectNotFound:
                continue  # deleted by an operator
            if flow_run.state and not flow_run.state.is_final():
                await client.set_flow_run_state(flow_run.id, Crashed(message=message), force=True)


async def _flow_runs(client: PrefectClient, run_key: str) -> list[FlowRun]:
    """The flow runs that work or worked on a run, the first one first."""
    linked = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"{RUN_TAG}{run_key}"]))
    )
    first = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_key)]))
    )
    found = {flow_run.id: flow_run for flow_run in [*first, *linked]}
    return sorted(found.values(), key=lambda r: (str(r.id) != run_key, str(r.created)))


class StepProgress(Value):
    """One bar in the UI: a step, or what a step did (``step/tool``)."""

    name: str
    state: str


class RunProgress(Value):
    """How far a run is. ``state`` and ``message`` are those of its latest flow run."""

    run_key: str
    state: str
    message: str = ""
    steps: tuple[StepProgress, ...] = ()


async def start_run(deployment: str, parameters: dict[str, Any], tags: tuple[str, ...] = ()) -> str:
    """The key of a new run of ``deployment`` (``flow/name``), which a worker takes up.

    Raises:
        EnvironmentUnusableError: the server does not have the deployment.
    """
    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            raise EnvironmentUnusableError(
                f"the Prefect server has no deployment '{deployment}'; `manus up` registers it"
            ) from error
        flow_run = await client.create_flow_run_from_deployment(
            found.id, parameters=parameters, tags=list(tags)
        )
    return str(flow_run.id)


async def read_progress(run_key: str) -> RunProgress | None:
    """None for a key that no flow run has."""
    if not _is_key(run_key):
        return None
    async with get_client() as client:
        flow_runs = await _flow_runs(client, run_key)
        if not flow_runs:
            return None
        latest = flow_runs[-1]
        wanted = TaskRunFilterFlowRunId(any_=[latest.id])
        bars = await client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id=wanted))
    return RunProgress(
        run_key=run_key,
        state=latest.state_name or "Pending",
        message=(latest.state.message or "") if latest.state else "",
        steps=tuple(StepProgress(name=b.name, state=b.state_name or "Pending") for b in bars),
    )


async def cancel_run(run_key: str) -> int:
    """Asks whoever works on the run to stop, which takes a second or two, also where it is paused.

    Returns how many flow runs were asked; 0 if the run had ended, or there is none.
    """
    if not _is_key(run_key):
        return 0
    asked = 0
    async with get_client() as client:
        for flow_run in await _flow_runs(client, run_key):
            state = flow_run.state
            if state is None or state.is_final():
                continue
            if not state.is_cancelling():
                await client.set_flow_run_state(flow_run.id, _end_of(state))
            asked += 1
    return asked


def _end_of(state: State[Any]) -> State[Any]:
    """The way a flow run ends from ``state`` when it is cancelled.

    A worker that sees a state *named* Cancelling stops the process itself, and writes its own words
    over the run's last ones. By another name the run sees it within a second and ends by itself.
    """
    if state.is_running() or state.is_paused():
        return State(type=StateType.CANCELLING, name=STOPPING)
    return Cancelled(message="cancelled before it began")


async def insist_on_cancel(run_key: str, *, abandoned: bool) -> None:
    """For a run that was asked to stop and does not.

    Args:
        run_key: the run's.
        abandoned: nobody holds the run's lease, so nobody can end it: it is marked Cancelled here.
            Else its worker, if it has one, is told to end the process, after 30 s by force.
    """
    gone = Cancelled(message=f"cancelled; its process was gone; `manus resume {run_key}` goes on")
    async with get_client() as client:
        for flow_run in await _flow_runs(client, run_key):
            if flow_run.state and not flow_run.state.is_final():
                state = gone if abandoned else Cancelling()
                await client.set_flow_run_state(flow_run.id, state, force=True)


def _is_key(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
