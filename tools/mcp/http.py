"""MCP servers behind HTTP.

A session speaks to the address that the operator wrote and to no other: no proxy of the
environment, and the SDK follows neither a redirect nor an endpoint to another origin.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from core.mcp import McpServerSettings

if TYPE_CHECKING:
    from httpx2 import AsyncClient

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
        headers=headers, timeout=timeout, auth=auth, trust_env=False, follow_redirects=False
    )
