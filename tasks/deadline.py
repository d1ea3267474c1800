"""A step's deadline and its slot among the parallel steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class StepClock:
    """Bounds the time a step works. While a person is asked it stands still.

    Its slot is free meanwhile, so that other steps can run.
    """

    def __init__(self, seconds: float, slots: asyncio.Semaphore) -> None:
        self._seconds = seconds
        self._slots = slots
        self._deadline: asyncio.Timeout | None = None
        self._waiting = 0
        self._left = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Raises TimeoutError, naming the limit, once the work inside took too long."""
        try:
            async with asyncio.timeout(self._seconds) as self._deadline:
                yield
        except TimeoutError as error:
            if self._deadline is not None and self._deadline.expired():
                raise TimeoutError(f"not done after {self._seconds:g} s") from error
            raise

    @asynccontextmanager
    async def standing_still(self) -> AsyncGenerator[None]:
        """Several calls of a turn may be inside at once; the clock goes on with the last of them.

        Cancelled, the step is over and takes no slot again.
        """
        self._stop()
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._go_on()
            raise
        else:
            await self._go_on()

    def _stop(self) -> None:
        self._waiting += 1
        if self._waiting > 1 or self._deadline is None:
            return
        when = self._deadline.when()
        if when is not None:
            self._left = when - asyncio.get_running_loop().time()
            self._deadline.reschedule(None)
        self._slots.release()

    async def _go_on(self) -> None:
        self._waiting -= 1
        if self._waiting or self._deadline is None:
            return
        await self._slots.acquire()
        self._deadline.reschedule(asyncio.get_running_loop().time() + max(0.0, self._left))
