"""A local HTTP proxy that connects only where the policy allows.

For what cannot be given a checked connection itself: a browser, or a library with a client of its
own. ``https`` and ``wss`` come as CONNECT, plain HTTP in absolute form (RFC 9112, 3.2.2).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from dataclasses import dataclass
from typing import Self

from core.errors import AnswerToModelError, EgressDeniedError
from tools.egress.dial import MAX_HEAD_BYTES, Wire, dial
from tools.egress.policy import EgressPolicy
from tools.egress.proxy_http import Head, parse_head, refusal
from tools.egress.upstream import Upstream, basic

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 65_536
_MOST_HEADS = 32


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """``idle_seconds`` without a byte in either direction end a connection."""

    max_connections: int = 256
    head_seconds: float = 15.0
    idle_seconds: float = 300.0


class EgressProxy:
    """Listens on 127.0.0.1, on a port of its own, while entered.

    With ``authenticate`` it serves only those who know its random password, so that no other
    process of this machine can use it; ``username`` and ``password`` are for Playwright's
    ``proxy={"server": …, "username": …, "password": …}``.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        upstream: Upstream | None = None,
        *,
        authenticate: bool = True,
        limits: ProxyLimits | None = None,
    ) -> None:
        self._policy = policy
        self._upstream = upstream or policy.upstream
        self._limits = limits or ProxyLimits()
        self.username = "egress" if authenticate else ""
        self.password = secrets.token_urlsafe(24) if authenticate else ""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def server(self) -> str:
        """Without the password."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """With the password, as libraries take it."""
        login = f"{self.username}:{self.password}@" if self.password else ""
        return f"http://{login}127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=MAX_HEAD_BYTES
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self._limits.max_connections:
            writer.write(refusal(503, "too many connections"))
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(Wire(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: Wire) -> None:
        try:
            answer = await self._answer(client)
            if answer:
                client.writer.write(answer)
                await client.writer.drain()
                await _finish(client)
            await client.flush_and_close()
        except (OSError, EOFError) as error:
            _log.debug("egress proxy: a connection ended: %r", error)
        finally:
            client.close()

    async def _answer(self, client: Wire) -> bytes | None:
        """Serves one request; a refusal where that cannot be done."""
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                head = parse_head(await client.reader.readuntil(b"\r\n\r\n"))
        except (asyncio.LimitOverrunError, ValueError) as error:
            return refusal(400, str(error))
        if not self._is_known(head):
            return refusal(407, "this proxy needs its password")
        try:
            target = await self._open(head)
        except EgressDeniedError as error:
            _log.warning("egress refused: %s", error)
            return refusal(403, str(error))
        except AnswerToModelError as error:
            return refusal(502, str(error))
        except ValueError as error:
            return refusal(400, str(error))
        try:
            await self._relay(head, client, target)
        except (asyncio.LimitOverrunError, ValueError) as error:
            return refusal(502, f"the server's answer is none: {error}")
        finally:
            target.close()
        return None

    def _is_known(self, head: Head) -> bool:
        if not self.password:
            return True
        given = head.get("proxy-authorization") or ""
        return hmac.compare_digest(given.encode(), basic(self.username, self.password).encode())

    async def _open(self, head: Head) -> Wire:
        if head.method == "CONNECT":
            host, port = head.authority()
            self._policy.check_tunnel(host, port)
        else:
            host, port = self._policy.check_form(head.target)
        return await dial(self._policy, host, port, self._upstream)

    async def _relay(self, head: Head, client: Wire, target: Wire) -> None:
        if head.method == "CONNECT":
            client.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            target.writer.write(head.for_origin())
        watch = _Watch(asyncio.get_running_loop().time())
        up = asyncio.create_task(_pump(client, target, watch))
        down = asyncio.create_task(self._downwards(head, client, target, watch))
        try:
            await self._until_done(up, down, watch)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _downwards(self, head: Head, client: Wire, target: Wire, watch: _Watch) -> None:
        """The answer's head is told to close: the next request may be for another host."""
        if head.method != "CONNECT":
            await _pass_heads(target, client, watch)
        await _pump(target, client, watch)

    async def _until_done(
        self, up: asyncio.Task[None], down: asyncio.Task[None], watch: _Watch
    ) -> None:
        """Until the target has ended its side, one of both failed, or nothing moved for long."""
        while not down.done():
            waiting = {down} if up.done() else {up, down}
            left = watch.last + self._limits.idle_seconds - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait(
                waiting, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED
            )
            if not done and watch.last + self._limits.idle_seconds <= _now():
                return
            for task in done:
                task.result()


@dataclass(slots=True)
class _Watch:
    last: float

    def now(self) -> None:
        self.last = _now()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _pass_heads(target: Wire, client: Wire, watch: _Watch) -> None:
    """The answer's, and those that only announce it. Raises ValueError for what is no answer."""
    for _ in range(_MOST_HEADS):
        answer = parse_head(await target.reader.readuntil(b"\r\n\r\n"))
        client.writer.write(answer.for_client())
        await client.writer.drain()
        watch.now()
        if not answer.is_interim:
            return
    raise ValueError("it is announced again and again")


async def _pump(source: Wire, sink: Wire, watch: _Watch) -> None:
    while chunk := await source.reader.read(_CHUNK_BYTES):
        watch.now()
        sink.writer.write(chunk)
        await sink.writer.drain()
    if sink.writer.can_write_eof():
        sink.writer.write_eof()


async def _finish(client: Wire) -> None:
    """Reads what is still coming, or the reset would take a refusal with it."""
    client.writer.write_eof()
    try:
        async with asyncio.timeout(1):
            while await client.reader.read(_CHUNK_BYTES):
                pass
    except TimeoutError:
        _log.debug("egress proxy: a refused client went on sending")
