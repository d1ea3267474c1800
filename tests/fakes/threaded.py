"""A scripted server for tests whose own thread has no event loop to spare."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager

from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Script


@contextmanager
def serve_in_thread(script: Script, *, latency_seconds: float = 0.0) -> Generator[FakeModelServer]:
    """Serves from a thread of its own; leaving stops the server and joins the thread."""
    server = FakeModelServer(script, latency_seconds=latency_seconds)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with server:
            stop = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="fake-model-server")
    thread.start()
    loop, stop = started.result(timeout=10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)
