"""Who is next where several calls wait for the same deployments."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager

from providers.deployment import Deployment


class Waiter:
    """One waiting call. ``rank`` sorts by priority, the highest first, then by arrival."""

    def __init__(self, rank: tuple[int, int], wanted: Collection[Deployment]) -> None:
        self.rank = rank
        self.wanted = wanted
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def sleep(self, seconds: float) -> None:
        """Until woken, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        finally:
            self._woken.clear()


class WaitingLine:
    """In line, a deployment belongs to the first who wants it; the others leave it alone.

    Else a large request, which needs much room under a rate limit, would be overtaken for ever by
    small ones.
    """

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiters)

    def waiting_for(self, name: str) -> int:
        return sum(any(d.name == name for d in w.wanted) for w in self._waiters)

    @contextmanager
    def place(self, priority: int, wanted: Collection[Deployment]) -> Generator[Waiter]:
        """A place in the line while the block runs; ``wanted`` may shrink meanwhile."""
        waiter = Waiter((-priority, next(self._arrivals)), wanted)
        bisect.insort(self._waiters, waiter, key=lambda w: w.rank)
        try:
            yield waiter
        finally:
            self._waiters.remove(waiter)
            self.wake_first()

    def free_for(self, waiter: Waiter) -> list[Deployment]:
        """Of what a waiter wants, in its order, what nobody before it wants."""
        return self._free(waiter.wanted, waiter.rank)

    def free_for_newcomer(self, priority: int, wanted: Sequence[Deployment]) -> list[Deployment]:
        """The same for a call that is not in the line."""
        return self._free(wanted, (-priority, next(self._arrivals))) if self else list(wanted)

    def wake_first(self) -> None:
        """Lets everyone look again who has something to itself."""
        claimed: set[Deployment] = set()
        for waiter in self._waiters:
            if not claimed.issuperset(waiter.wanted):
                waiter.wake()
                claimed.update(waiter.wanted)

    def _free(self, wanted: Collection[Deployment], rank: tuple[int, int]) -> list[Deployment]:
        free = list(wanted)
        for earlier in self._waiters:
            if earlier.rank >= rank or not free:
                break
            free = [d for d in free if d not in earlier.wanted]
        return free
