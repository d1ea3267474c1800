"""Kept answers in Redis, shared by machines.

A Redis that is slow or away is a miss, told once in the log. It is left alone for some seconds, so
that not every call waits for it, and asked again then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from providers.response_cache_store import CacheEntry, read_entry

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.lock import Lock

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_ENTRIES = "manus:response:"
_LOCKS = "manus:response-lock:"
_LOCK_SECONDS = 15.0
"""A leader renews its lock three times as often; one that died holds others up for so long."""
_PAUSE_SECONDS = 0.05


class RedisCacheStore:
    """Implements ``CacheStore``. Entries expire by Redis's own clock; their number is its policy's.

    ``timeout_seconds`` bounds each command, connecting included. After a failure Redis is not
    asked for ``left_alone_seconds``.
    """

    def __init__(
        self, url: str, timeout_seconds: float, *, left_alone_seconds: float = 5.0
    ) -> None:
        self._left_alone_seconds = left_alone_seconds
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._client: Redis | None = None
        self._retry_at = 0.0
        self._away = False

    async def load(self, key: str) -> CacheEntry | None:
        content: bytes | None = await self._tried(lambda c: c.get(_ENTRIES + key), None)
        if content is None:
            return None
        entry = read_entry(content, key)
        if entry is None:
            _log.warning("response cache: entry %s is damaged; asking again replaces it", key)
        return entry

    async def save(self, entry: CacheEntry) -> None:
        left = entry.expires_at - datetime.now(UTC)
        milliseconds = max(1, int(left.total_seconds() * 1000))
        content = entry.model_dump_json().encode()
        await self._tried(lambda c: c.set(_ENTRIES + entry.key, content, px=milliseconds), None)

    async def delete(self, key: str) -> None:
        """Raises redis's errors: an entry that somebody wants gone must not stay unnoticed."""
        await self._connection().delete(_ENTRIES + key)

    async def entries(self) -> AsyncIterator[CacheEntry]:
        """Raises redis's errors."""
        client: Any = self._connection()
        async for name in client.scan_iter(match=f"{_ENTRIES}*", count=500):
            content = await client.get(name)
            key = name.decode().removeprefix(_ENTRIES)
            if content and (entry := read_entry(content, key)):
                yield entry

    @asynccontextmanager
    async def leading(self, key: str, patience_seconds: float) -> AsyncGenerator[None]:
        """Without Redis, everyone leads."""
        lock = self._connection().lock(_LOCKS + key, timeout=_LOCK_SECONDS, thread_local=False)
        if not await self._acquired(lock, patience_seconds):
            yield
            return
        renewing = asyncio.create_task(self._renew(lock))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            await self._tried(lambda _: _released(lock), None)

    async def close(self) -> None:
        """Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _acquired(self, lock: Lock, patience_seconds: float) -> bool:
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            taken = await self._tried(lambda _: lock.acquire(blocking=False), None)
            if taken is not False:
                return bool(taken)
            await asyncio.sleep(_PAUSE_SECONDS)
        return False

    async def _renew(self, lock: Lock) -> None:
        while True:
            await asyncio.sleep(_LOCK_SECONDS / 3)
            await self._tried(lambda _: lock.reacquire(), None)

    async def _tried(self, ask: Callable[[Any], Awaitable[_T]], otherwise: _T) -> _T:
        """What Redis says, ``otherwise`` where it does not answer in time."""
        from redis.exceptions import LockError, RedisError

        if time.monotonic() < self._retry_at:
            return otherwise
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await ask(self._connection())
        except LockError:  # held for too long: another one leads now, which is what locks are for
            return otherwise
        except (RedisError, OSError) as error:  # a passed deadline is an OSError
            self._note_away(error)
            return otherwise
        self._away = False
        return answer

    def _note_away(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + self._left_alone_seconds
        if not self._away:
            reason = str(error) or f"no answer within {self._timeout_seconds:g} s"
            _log.warning("response cache: going on without Redis: %s", reason)
        self._away = True

    def _connection(self) -> Redis:
        if self._client is None:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._client = Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
                self._url,
                socket_timeout=self._timeout_seconds,
                socket_connect_timeout=self._timeout_seconds,
                retry=Retry(NoBackoff(), 1),
            )
        return self._client


async def _released(lock: Lock) -> None:
    await lock.release()
