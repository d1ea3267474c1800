"""An httpx client that connects only where the policy allows.

The check is made where the connection is, so that a redirect, or a name with another answer the
second time, is no way around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import httpcore
import httpx

from tools.egress.policy import EgressPolicy
from tools.egress.upstream import Upstream, connect_status

USER_AGENT = "Mozilla/5.0 (compatible; manus-flows/0.1)"
_MAX_CONNECT_HEAD_BYTES = 16_384


def guarded_client(
    policy: EgressPolicy,
    *,
    timeout_seconds: float = 20.0,
    max_connections: int = 20,
    max_redirects: int = 8,
    user_agent: str = USER_AGENT,
) -> httpx.AsyncClient:
    """Follows redirects, keeps no proxy settings of the environment.

    ``timeout_seconds`` bounds connecting, each read and each write; ``fetch`` bounds the whole.
    Requests raise EgressDeniedError beside httpx's errors.
    """
    return httpx.AsyncClient(
        transport=_GuardedTransport(policy, max_connections),
        trust_env=False,
        follow_redirects=True,
        max_redirects=max_redirects,
        timeout=timeout_seconds,
        headers={"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"},
    )


class _GuardedTransport(httpx.AsyncHTTPTransport):
    def __init__(self, policy: EgressPolicy, max_connections: int) -> None:
        super().__init__(trust_env=False)
        # httpx has no way to be given a network backend; its version is pinned for this.
        if not isinstance(getattr(self, "_pool", None), httpcore.AsyncConnectionPool):
            raise TypeError("httpx keeps its connections elsewhere: nothing would be guarded")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            network_backend=_GuardedBackend(policy),
        )
        self._policy = policy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._policy.check_form(request.url)
        return await super().handle_async_request(request)


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy
        # Its type is lost to the checker in httpcore's fallback for when anyio is missing.
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        bound = min(timeout or 60.0, self._policy.settings.connect_timeout_seconds)
        failure: Exception | None = None
        for address in await self._policy.resolve(host, port):
            try:
                return await self._connect(address, port, bound)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host}: no address")

    async def _connect(
        self, address: str, port: int, timeout: float
    ) -> httpcore.AsyncNetworkStream:
        upstream = self._policy.upstream
        if upstream is None:
            return await self._inner.connect_tcp(address, port, timeout)
        stream = await self._inner.connect_tcp(upstream.host, upstream.port, timeout)
        try:
            await _ask_upstream(stream, upstream, address, port, timeout)
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


async def _ask_upstream(
    stream: httpcore.AsyncNetworkStream,
    upstream: Upstream,
    address: str,
    port: int,
    timeout: float,
) -> None:
    await stream.write(upstream.request(address, port), timeout)
    head = b""
    while b"\r\n\r\n" not in head:
        # A target speaks only when spoken to: nothing of its own is lost with this.
        chunk = await stream.read(_MAX_CONNECT_HEAD_BYTES, timeout)
        head += chunk
        if not chunk or len(head) > _MAX_CONNECT_HEAD_BYTES:
            raise httpcore.ConnectError("the upstream proxy did not answer")
    if not 200 <= (status := connect_status(head)) < 300:
        raise httpcore.ConnectError(f"the upstream proxy answered {status}")
