"""TCP connections to checked addresses, over asyncio's streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from core.errors import ToolFailedError
from tools.egress.policy import EgressPolicy
from tools.egress.upstream import Upstream, connect_status

MAX_HEAD_BYTES = 65_536
_FLUSH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        """At once, whatever is still unsent. Idempotent."""
        self.writer.transport.abort()

    async def flush_and_close(self) -> None:
        """Raises OSError when the other side is gone; TimeoutError when it takes nothing."""
        self.writer.close()
        async with asyncio.timeout(_FLUSH_SECONDS):
            await self.writer.wait_closed()


async def dial(
    policy: EgressPolicy, host: str, port: int, upstream: Upstream | None = None
) -> Wire:
    """Connects to the first address that answers; through ``upstream`` if there is one.

    Raises:
        EgressDeniedError: the policy says no; nothing was connected to.
        ToolFailedError: nothing answered.
    """
    addresses = await policy.resolve(host, port)
    failure: Exception | None = None
    for address in addresses:
        try:
            async with asyncio.timeout(policy.settings.connect_timeout_seconds):
                return await _connect(address, port, upstream)
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            failure = error
    reason = failure or "no address"
    raise ToolFailedError(
        f"{host}:{port}: cannot connect: {str(reason) or type(reason).__name__}", retryable=True
    ) from failure


async def _connect(address: str, port: int, upstream: Upstream | None) -> Wire:
    place = (upstream.host, upstream.port) if upstream else (address, port)
    wire = Wire(*await asyncio.open_connection(*place, limit=MAX_HEAD_BYTES))
    if upstream is None:
        return wire
    try:
        wire.writer.write(upstream.request(address, port))
        head = await wire.reader.readuntil(b"\r\n\r\n")
        status = connect_status(head)
        if not 200 <= status < 300:
            raise ConnectionRefusedError(f"the upstream proxy answered {status}")
    except asyncio.LimitOverrunError as error:
        wire.close()
        raise ConnectionError("the upstream proxy's answer has no end") from error
    except BaseException:
        wire.close()
        raise
    return wire
