"""A step's deadline and its slot among the parallel steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class StepSlots(asyncio.Semaphore):
    """One slot for each step that may run at the same time."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._owed = 0

    def owe(self) -> None:
        """Takes a slot without waiting for it: the next that is given back pays for it."""
        self._owed += 1

    def release(self) -> None:
        if self._owed:
            self._owed -= 1
        else:
            super().release()


class StepClock:
    """Bounds the time a step works. While a person is asked it stands still.

    Its slot is free meanwhile, so that other steps can run.
    """

    def __init__(self, seconds: float, slots: StepSlots) -> None:
        self._seconds = seconds
        self._slots = slots
        self._has_slot = True
        self._taking = asyncio.Lock()
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

        Who is cancelled does not wait for a slot.
        """
        self._stop()
        try:
            yield
        except asyncio.CancelledError:
            self._waiting -= 1
            self._go_on_at_once()
            raise
        except BaseException:
            await self._go_on()
            raise
        else:
            await self._go_on()

    def _stop(self) -> None:
        self._waiting += 1
        when = self._deadline.when() if self._deadline else None
        if self._deadline and when is not None and not self._deadline.expired():
            self._left = when - asyncio.get_running_loop().time()
            self._deadline.reschedule(None)
        if self._has_slot:
            self._has_slot = False
            self._slots.release()

    async def _go_on(self) -> None:
        self._waiting -= 1
        try:
            async with self._taking:  # several calls that go on need one slot
                if not (self._waiting or self._has_slot):
                    await self._slots.acquire()
                    if self._waiting or self._has_slot:  # by now
                        self._slots.release()
                    else:
                        self._has_slot = True
        except asyncio.CancelledError:
            self._go_on_at_once()
            raise
        self._start()

    def _go_on_at_once(self) -> None:
        """The slot is given back at the step's end, as if it had been there."""
        if not (self._waiting or self._has_slot):
            self._slots.owe()
            self._has_slot = True
        self._start()

    def _start(self) -> None:
        if self._waiting or self._deadline is None or self._deadline.expired():
            return
        if self._deadline.when() is None:
            now = asyncio.get_running_loop().time()
            self._deadline.reschedule(now + max(0.0, self._left))
