"""What a command writes, kept up to a bound."""

from __future__ import annotations

from asyncio import StreamReader
from collections import deque

OVERFLOW_FACTOR = 16
"""A command that writes this many times the bound is not talking to anyone any more."""


class CappedOutput:
    """Keeps the first three quarters and the last quarter of ``limit`` bytes, drops the middle.

    The end is kept because that is where errors are told.
    """

    def __init__(self, limit: int) -> None:
        self._head_limit = limit - limit // 4
        self._tail_limit = limit // 4
        self._overflow = limit * OVERFLOW_FACTOR
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._total = 0

    async def drain(self, reader: StreamReader) -> None:
        """Reads to the end, whatever the bound, so that the writer is never blocked."""
        while chunk := await reader.read(65_536):
            self.add(chunk)

    def add(self, chunk: bytes) -> None:
        self._total += len(chunk)
        room = self._head_limit - len(self._head)
        self._head += chunk[:room]
        if rest := chunk[room:] if room > 0 else chunk:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail and self._tail_bytes - len(self._tail[0]) >= self._tail_limit:
            self._tail_bytes -= len(self._tail.popleft())

    @property
    def overflowing(self) -> bool:
        return self._total > self._overflow

    @property
    def truncated(self) -> bool:
        return self._total > self._head_limit + self._tail_limit

    @property
    def kept(self) -> bytes:
        """The output, with a note in place of what was dropped."""
        tail = b"".join(self._tail)
        if not self.truncated:
            return bytes(self._head) + tail
        dropped = self._total - self._head_limit - self._tail_limit
        note = f"\n[... {dropped} bytes left out ...]\n".encode()
        return bytes(self._head) + note + tail[len(tail) - self._tail_limit :]
