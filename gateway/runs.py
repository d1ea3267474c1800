"""Flow runs, as Prefect's API has them: the one place that talks to it."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow_async
from prefect.states import Crashed, Pending

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
        linked = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"{RUN_TAG}{run_key}"]))
        )
        first = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_key)]))
        )
        for flow_run in {r.id: r for r in [*linked, *first]}.values():
            if flow_run.state and not flow_run.state.is_final():
                await client.set_flow_run_state(flow_run.id, Crashed(message=message), force=True)
                marked += 1
    return marked
