"""Flow runs, as Prefect's API has them: the one place that talks to it."""

from __future__ import annotations

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
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Cancelling, Crashed, Pending

from core.base import Value
from core.errors import EnvironmentUnusableError

RUN_TAG = "run:"
"""Flow runs that work on the same run carry the tag ``run:<run_key>``."""


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
    """Asks whoever works on the run to stop, which takes seconds; returns how many flow runs."""
    if not _is_key(run_key):
        return 0
    asked = 0
    async with get_client() as client:
        for flow_run in await _flow_runs(client, run_key):
            if flow_run.state is None or flow_run.state.is_final():
                continue
            begun = flow_run.state.is_running() or flow_run.state.is_paused()
            state = Cancelling() if begun else Cancelled()
            await client.set_flow_run_state(flow_run.id, state)
            asked += 1
    return asked


def _is_key(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
