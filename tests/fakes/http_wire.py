"""As much of HTTP/1.1 as a fake server needs: keep-alive, Content-Length in, chunks out."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Serve = Callable[[HttpRequest, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client connection; requests on it are served one after the other by ``serve``.

    ``serve`` is cancelled when the client goes away, which is how it learns of it.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._buffer = b""
        self._serving: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._serve_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._serving and not self._serving.done():
            self._serving.cancel()

    def write_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._write(_head(status, {**headers, "content-length": str(len(body))}) + body)

    def write_cut(self, body: bytes) -> None:
        """Half of a body whose whole length was announced."""
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        self._write(_head(200, headers) + body[: len(body) // 2])

    def open_stream(
        self, headers: Mapping[str, str], *, status: int = 200, kind: str = "text/event-stream"
    ) -> None:
        chunked = {"content-type": kind, "transfer-encoding": "chunked"}
        self._write(_head(status, {**headers, **chunked}))

    def write_chunks(self, chunks: Iterable[bytes]) -> None:
        self._write(b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks))

    def end_stream(self) -> None:
        self._write(b"0\r\n\r\n")

    async def reset(self) -> None:
        """Closes without any good-bye, once what was written is out."""
        await asyncio.sleep(0.02)
        if self._transport:
            self._transport.abort()

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    def _serve_next(self) -> None:
        if self._serving and not self._serving.done():
            return
        request, self._buffer = _take_request(self._buffer)
        if request:
            self._serving = asyncio.ensure_future(self._run(request))

    async def _run(self, request: HttpRequest) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._serve(request, self)
            asyncio.get_running_loop().call_soon(self._serve_next)


@asynccontextmanager
async def serve_connections(
    serve: Serve, port: int = 0, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """Listens on 127.0.0.1 and gives the port; leaving closes what is still open."""
    connections: list[Connection] = []

    def connect() -> Connection:
        connections.append(Connection(serve))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _take_request(buffer: bytes) -> tuple[HttpRequest | None, bytes]:
    """The first whole request of the buffer and what follows it."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None, buffer
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    start = end + 4
    if len(buffer) < start + length:
        return None, buffer
    method, path, _ = first.split(" ", 2)
    body = buffer[start : start + length]
    return HttpRequest(method, path, headers, body), buffer[start + length :]
