"""Stops a run that was cancelled from outside, wherever it runs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from tasks.run import Run

T = TypeVar("T")
POLL_SECONDS = 1.0
RUN_TAG = "run:"
"""Flow runs that work on the same run carry the tag ``run:<run_key>``."""


class CancelledFromOutside(Exception):  # noqa: N818  a control flow signal, like asyncio's own
    """The flow run was set to Cancelling or Cancelled, or its process was told to end."""


async def until_cancelled(work: Coroutine[Any, Any, T], run: Run) -> T:
    """Runs ``work``; cancels it when the flow run is cancelled in the UI, by the API or by Ctrl-C.

    A flow in a plain process is not told by Prefect that it was cancelled: it has to look. One that
    a worker started gets SIGTERM, from ``prefect flow-run cancel`` or since the worker itself ends.

    Raises:
        CancelledFromOutside: after ``work`` has cleaned up; says who asked.
    """
    with _sigterm() as told_to_end:
        task = asyncio.ensure_future(work)
        watcher = asyncio.create_task(_watch(run))
        requests = {
            watcher: "cancelled",
            asyncio.create_task(run.services.cancel_requested.wait()): "cancelled here",
            asyncio.create_task(told_to_end.wait()): "its process was told to end (SIGTERM)",
        }
        try:
            await asyncio.wait({task, *requests}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await _stop(task)
                if watcher.done():
                    watcher.result()  # raises what kept it from watching: that is no cancel
                reason = next(said for request, said in requests.items() if request.done())
                get_run_logger().warning("%s; `manus resume %s` goes on", reason, run.key)
                raise CancelledFromOutside(reason)
            return task.result()
        finally:
            for request in requests:
                await _stop(request)
            await _stop(task)


async def _stop(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(run: Run) -> None:
    """Returns when the flow run is being cancelled. A server out of reach is asked again."""
    flow_run_id = UUID(run.flow_run_id)
    is_first = True
    async with get_client() as client:
        while True:
            try:
                flow_run = await client.read_flow_run(flow_run_id)
                if is_first:
                    await _tag(client, flow_run, run)
                    if await _was_cancelled(client, flow_run_id):
                        return
                    is_first = False
            except ObjectNotFound:
                return  # deleted by an operator
            except HTTPError as error:
                get_run_logger().warning("cannot ask whether this run is cancelled: %s", error)
            else:
                if _is_cancel(flow_run.state):
                    return
            await asyncio.sleep(POLL_SECONDS)


def _is_cancel(state: State[Any] | None) -> bool:
    return state is not None and (state.is_cancelling() or state.is_cancelled())


async def _was_cancelled(client: PrefectClient, flow_run_id: UUID) -> bool:
    """Whether it was cancelled while its process started: Prefect lets it become Running then.

    A retry of a cancelled flow run is told by the Scheduled and Pending in between.
    """
    states = await client.read_flow_run_states(flow_run_id)
    states.sort(key=lambda state: state.timestamp)
    return len(states) > 1 and _is_cancel(states[-2])


async def _tag(client: PrefectClient, flow_run: FlowRun, run: Run) -> None:
    """Whoever has the run's key finds this flow run too, if the deployment's caller left it out."""
    tag = f"{RUN_TAG}{run.key}"
    if str(flow_run.id) != run.key and tag not in flow_run.tags:
        await client.update_flow_run(flow_run.id, tags=[*flow_run.tags, tag])


Handler = Callable[[int, FrameType | None], Any] | int | None


@dataclass(slots=True)
class _Sigterm:
    """A handler of SIGTERM that asks instead of raising.

    Prefect's raises in whatever line the main thread is at, be it the event loop or the clean-up
    after a signal before: the loop ends, and with it what a run does in order to end well.
    """

    loop: asyncio.AbstractEventLoop
    before: Handler
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.over:
            self.loop.call_soon_threadsafe(self.asked.set)
        elif callable(self.before) and not self.asked.is_set():
            self.before(number, frame)

    def close(self) -> None:
        """Gives SIGTERM back, unless it came: then another is on its way, as a worker sends two."""
        self.over = True
        if not self.asked.is_set() and signal.getsignal(signal.SIGTERM) is self:
            signal.signal(signal.SIGTERM, self.before)


@contextmanager
def _sigterm() -> Generator[asyncio.Event]:
    """Set when the process is told to end. Only a main thread hears of it."""
    if threading.current_thread() is not threading.main_thread():
        yield asyncio.Event()
        return
    handler = _Sigterm(asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM))
    signal.signal(signal.SIGTERM, handler)
    try:
        yield handler.asked
    finally:
        handler.close()
