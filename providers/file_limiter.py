"""Rate limits shared by the processes of one machine, in a locked file per limit."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from core.ports import Headroom, Reservation
from core.provider_settings import RateLimits
from providers.limits import Window, limit_key

_SLOT = struct.Struct("<qqq")
_LARGEST_BYTES = 4096
_PAUSE_SECONDS = 0.001
_PATIENCE_SECONDS = 2.0


class FileLimiter:
    """Implements ``core.ports.Limiter``; ``folder`` is made where it is missing.

    The lock is held for some 30 microseconds and never waited for with the event loop stopped.
    Within one process calls are let through in order; between processes whoever asks first is.
    """

    def __init__(
        self,
        folder: Path,
        limits: Mapping[str, RateLimits],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._limits = dict(limits)
        self._clock = clock
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def reserve(self, deployment: str, tokens: int) -> Reservation:
        """Where the lock cannot be had for two seconds, nothing is taken: ask again."""
        key = limit_key(self._limits, deployment)
        if key is None:
            return Reservation(deployment, tokens)
        try:
            async with self._locked(key) as window:
                now = self._clock()
                wait = window.wait_seconds(self._limits[key], tokens, now)
                if not wait:
                    window.add(now, tokens)
                return Reservation(deployment, tokens, now, wait)
        except TimeoutError:
            return Reservation(deployment, tokens, wait_seconds=_PATIENCE_SECONDS)

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """Where the lock cannot be had, the estimate stays."""
        key = limit_key(self._limits, reservation.deployment)
        if key is None or tokens == reservation.tokens:
            return
        with contextlib.suppress(TimeoutError):
            async with self._locked(key) as window:
                window.add(reservation.taken_at, tokens - reservation.tokens, requests=0)

    async def headroom(self, deployment: str) -> Headroom:
        """What is left; TimeoutError where the lock cannot be had."""
        key = limit_key(self._limits, deployment)
        if key is None:
            return Headroom()
        async with self._locked(key) as window:
            return window.headroom(self._limits[key], self._clock())

    @asynccontextmanager
    async def _locked(self, key: str) -> AsyncGenerator[Window]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        file = os.open(self._folder / f"{quote(key, safe='')}.window", flags, 0o600)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await _lock(file)
            window = _read(file)
            yield window
            _write(file, window)
        finally:
            os.close(file)


async def _lock(file: int) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return


def _read(file: int) -> Window:
    data = os.pread(file, _LARGEST_BYTES, 0)
    whole = len(data) - len(data) % _SLOT.size
    return Window((s[0], s[1], s[2]) for s in _SLOT.iter_unpack(data[:whole]))


def _write(file: int, window: Window) -> None:
    data = b"".join(_SLOT.pack(*slot) for slot in window.slots)
    os.pwrite(file, data, 0)
    os.ftruncate(file, len(data))
