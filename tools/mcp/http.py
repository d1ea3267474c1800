"""MCP servers behind HTTP.

A session speaks to the address that the operator wrote and to no other: no proxy of the
environment, and the SDK follows neither a redirect nor an endpoint to another origin. No message
is longer than ``MAX_MESSAGE_BYTES``, nor compressed, which could hide how long it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from core.mcp import McpServerSettings

if TYPE_CHECKING:
    from httpx2 import AsyncByteStream, AsyncClient, Response

MAX_MESSAGE_BYTES = 32_000_000
STREAM_SECONDS = 300.0


@asynccontextmanager
async def http_transport(settings: McpServerSettings) -> AsyncGenerator[Any]:
    """The streams of a session over streamable HTTP, or over SSE where that is configured."""
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    url, seconds = settings.url or "", settings.timeout_seconds

    def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> AsyncClient:
        return _http_client({**settings.headers, **(headers or {})}, timeout or seconds, auth)

    if settings.transport == "sse":
        async with sse_client(url, timeout=seconds, httpx_client_factory=client) as streams:
            yield streams
        return
    async with client() as http, streamable_http_client(url, http_client=http) as streams:
        yield streams


def _http_client(headers: dict[str, str], timeout: Any, auth: Any) -> AsyncClient:
    """``timeout`` is the SDK's own, or seconds; an open stream may be silent for minutes."""
    import httpx2

    if isinstance(timeout, int | float):
        timeout = httpx2.Timeout(timeout, read=timeout + STREAM_SECONDS)
    return httpx2.AsyncClient(
        headers={**headers, "Accept-Encoding": "identity"},
        timeout=timeout,
        auth=auth,
        trust_env=False,
        follow_redirects=False,
        transport=_bounded_transport(),
    )


def _bounded_transport() -> Any:
    """A class of its own here, as its base takes long to import."""
    import httpx2

    class Bounded(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            response = await super().handle_async_request(request)
            encoding = response.headers.get("content-encoding", "identity")
            if encoding != "identity":
                await response.aclose()
                raise httpx2.ReadError(f"the answer is compressed ({encoding[:40]}), unasked")
            response.stream = _bounded(response)
            return response

    return Bounded(trust_env=False)


def _bounded(response: Response) -> AsyncByteStream:
    """Its body; of a stream of events each counts for itself. Raises ReadError when read."""
    import httpx2

    inner = response.stream
    assert isinstance(inner, httpx2.AsyncByteStream)
    has_events = response.headers.get("content-type", "").startswith("text/event-stream")

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in inner:
                end = max(chunk.rfind(b"\n\n"), chunk.rfind(b"\r\n\r\n")) if has_events else -1
                size = len(chunk) - end if end >= 0 else size + len(chunk)
                if size > MAX_MESSAGE_BYTES:
                    raise httpx2.ReadError(f"a message exceeds {MAX_MESSAGE_BYTES} bytes")
                yield chunk

        async def aclose(self) -> None:
            await inner.aclose()

    return Bounded()
