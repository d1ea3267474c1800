"""Stops a run that was cancelled from outside, wherever it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from tasks.run import Run

T = TypeVar("T")
POLL_SECONDS = 1.0


class CancelledFromOutside(Exception):  # noqa: N818  a control flow signal, like asyncio's own
    """The flow run was set to Cancelling or Cancelled by an operator."""


async def until_cancelled(work: Coroutine[Any, Any, T], run: Run) -> T:
    """Runs ``work``; cancels it when the flow run is cancelled in the UI, by the API or by Ctrl-C.

    A flow in a plain process is not told by Prefect that it was cancelled: it has to look.

    Raises:
        CancelledFromOutside: after ``work`` has cleaned up.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.create_task(_watch(UUID(run.flow_run_id)))
    signal = asyncio.create_task(run.services.cancel_requested.wait())
    try:
        await asyncio.wait({task, watcher, signal}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await _stop(task)
            if watcher.done():
                watcher.result()  # raises what kept it from watching: that is no cancel
            raise CancelledFromOutside
        return task.result()
    finally:
        await _stop(watcher)
        await _stop(signal)
        await _stop(task)


async def _stop(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(flow_run_id: UUID) -> None:
    """Returns when the flow run is being cancelled. A server out of reach is asked again."""
    async with get_client() as client:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                flow_run = await client.read_flow_run(flow_run_id)
            except ObjectNotFound:
                return  # deleted by an operator
            except HTTPError as error:
                get_run_logger().warning("cannot ask whether this run is cancelled: %s", error)
                continue
            if flow_run.state and (flow_run.state.is_cancelling() or flow_run.state.is_cancelled()):
                return
