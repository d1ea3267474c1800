"""What tools keep open between calls (a browser, a shell, a server), closed when its scope ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)
CLOSE_SECONDS = 15.0
"""More than closing a browser or ending a process in good order takes."""


class Resources:
    """Resources of one scope, opened on first use, each once, and closed in reverse order.

    A resource is entered and left by a task of its own, as context managers with task groups
    inside demand, whoever asks for it first.
    """

    def __init__(self, close_seconds: float = CLOSE_SECONDS) -> None:
        self._close_seconds = close_seconds
        self._held: dict[str, _Held] = {}

    async def obtain(self, name: str, open_it: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """What ``open_it`` yields; the same to everyone who asks for ``name``.

        One that could not be opened is tried anew by the next to ask. Raises what opening raised.
        """
        held = self._held.get(name)
        if held is None or held.keeper.done():  # it may have ended by itself
            held = self._held[name] = _Held.begin(open_it())
        try:
            return await asyncio.shield(held.value)
        except Exception:
            if self._held.get(name) is held:
                del self._held[name]
            raise

    async def release(self, name: str) -> None:
        """Closes one resource, if it is open, so that the next to ask opens it anew."""
        if held := self._held.pop(name, None):
            await held.end(self._close_seconds)

    async def close(self) -> None:
        """Closes all. Idempotent. One that does not close well is logged: the work is done.

        One that takes too long is cancelled and left to itself. Whoever is cancelled meanwhile
        waits for the rest all the same, or they would stay open.
        """
        closing = asyncio.ensure_future(self._close_all())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait({closing})
            raise

    async def _close_all(self) -> None:
        while self._held:
            name, held = self._held.popitem()
            try:
                await held.end(self._close_seconds)
            except Exception:  # noqa: BLE001 - the others must be closed too
                _log.exception("%s did not close well", name)


@dataclass(frozen=True, slots=True)
class _Held:
    value: asyncio.Future[Any]
    leave: asyncio.Event
    keeper: asyncio.Task[None]

    @classmethod
    def begin(cls, manager: AbstractAsyncContextManager[Any]) -> _Held:
        value: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        leave = asyncio.Event()
        return cls(value, leave, asyncio.create_task(_keep(manager, value, leave)))

    async def end(self, seconds: float) -> None:
        """Raises what closing raised; TimeoutError where that takes longer, then it is left."""
        self.leave.set()
        if not self.value.done():
            self.keeper.cancel()
        _, late = await asyncio.wait({self.keeper}, timeout=seconds)
        if late:
            self.keeper.cancel()
            raise TimeoutError(f"not closed after {seconds:g} s")
        if not self.keeper.cancelled():
            self.keeper.result()


async def _keep(
    manager: AbstractAsyncContextManager[Any], value: asyncio.Future[Any], leave: asyncio.Event
) -> None:
    """Holds a resource open. What goes wrong in opening is for those who asked, not raised here."""
    try:
        async with manager as resource:
            value.set_result(resource)
            await leave.wait()
    except Exception as error:
        if value.done():
            raise
        value.set_exception(error)
        value.exception()  # so that nobody waiting any more is worth no warning
    except BaseException:
        value.cancel()
        raise


@dataclass(frozen=True, slots=True)
class Scopes:
    """Whom a resource belongs to: one attempt of one step, one run, or this process."""

    step: Resources = field(default_factory=Resources)
    run: Resources = field(default_factory=Resources)
    process: Resources = field(default_factory=Resources)


@asynccontextmanager
async def resources() -> AsyncGenerator[Resources]:
    """A scope that is closed at the end, however it ends."""
    scope = Resources()
    try:
        yield scope
    finally:
        await scope.close()
