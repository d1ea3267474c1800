"""boto3's blocking calls in threads, which can be cut off in mid-wait.

A thread that waits for an answer cannot be stopped, and would hold its place, and this process,
until boto3 gives up. So each call remembers the socket it waits for: shutting that down ends the
wait at once, and tells the service that nobody listens any more.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from botocore import awsrequest

T = TypeVar("T")


class _InFlight:
    """One blocking call, run by one thread and cut by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False

    def run(self, call: Callable[[], T]) -> T:
        """Makes the call, whose connections report here. Raises OSError when cut before."""
        self.use(None)
        token = _current.set(self)
        try:
            return call()
        finally:
            _current.reset(token)
            # Another call may have the connection next.
            with self._lock:
                self._over, self._socket = True, None

    def use(self, connected: Any) -> None:
        """Takes note of the socket, which may be a TLS layer over one (through a TLS proxy)."""
        inner = getattr(connected, "socket", connected)
        with self._lock:
            if self._over:
                raise ConnectionAbortedError("the call was cut off")
            self._socket = inner if isinstance(inner, socket.socket) else None

    def cut(self) -> None:
        """Ends the call's wait. Nothing happens when it is over."""
        with self._lock:
            self._over = True
            if self._socket is not None:
                with suppress(OSError):
                    # Not the method of a TLS socket, which would drop its state under the reader.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


_current: ContextVar[_InFlight] = ContextVar("bedrock_call")


class _HttpConnection(awsrequest.AWSHTTPConnection):
    def connect(self) -> None:
        super().connect()
        _current.get().use(self.sock)

    def request(self, *args: Any, **options: Any) -> Any:
        if self.sock is not None:
            _current.get().use(self.sock)
        return cast("Any", super()).request(*args, **options)


class _HttpsConnection(awsrequest.AWSHTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _current.get().use(self.sock)

    def request(self, *args: Any, **options: Any) -> Any:
        if self.sock is not None:
            _current.get().use(self.sock)
        return cast("Any", super()).request(*args, **options)


class _HttpPool(awsrequest.AWSHTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(awsrequest.AWSHTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class BlockingCalls:
    """Runs the calls of one client in at most ``threads`` threads, apart from the loop's own."""

    def __init__(self, client: Any, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bedrock")
        self._running: set[_InFlight] = set()
        # botocore has no setting for it; one dictionary serves direct and proxied connections.
        pools: dict[str, Any] = client._endpoint.http_session._pool_classes_by_scheme
        pools.update({"http": _HttpPool, "https": _HttpsPool})

    async def run(self, call: Callable[[], T]) -> T:
        """What the call returns or raises. Cancelling cuts it off."""
        flight = self._begin()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, flight.run, call)
        finally:
            self._end(flight)

    async def iterate(self, produce: Callable[[], Iterable[T]]) -> AsyncGenerator[T, None]:
        """What a thread produces, as it comes. Closing the generator cuts the thread off."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[T] | None] = asyncio.Queue()

        def pump() -> None:
            for item in produce():
                loop.call_soon_threadsafe(queue.put_nowait, (item,))

        flight = self._begin()
        job = loop.run_in_executor(self._pool, flight.run, pump)
        job.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (item := await queue.get()) is not None:
                yield item[0]
            await job
        finally:
            self._end(flight)
            job.cancel()

    async def close(self) -> None:
        """Cuts off what still runs and waits for its threads. Idempotent."""
        for flight in tuple(self._running):
            flight.cut()
        await asyncio.to_thread(self._pool.shutdown)

    def _begin(self) -> _InFlight:
        flight = _InFlight()
        self._running.add(flight)
        return flight

    def _end(self, flight: _InFlight) -> None:
        flight.cut()
        self._running.discard(flight)
