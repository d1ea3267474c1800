"""Lines from a terminal or a pipe, without holding up what else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import TextIO, TypeVar

T = TypeVar("T")


class LineReader:
    """Reads stdin. At a terminal with a prompt and line editing.

    Each line is read in a thread that does not keep the process from ending.
    """

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty()
        self._reading: asyncio.Task[str | None] | None = None
        self._pipe: TextIO | None = None
        if self.interactive:
            with contextlib.suppress(ImportError):  # importing it gives input() its line editing
                importlib.import_module("readline")
        else:
            # A stream of its own: the interpreter waits for the lock of sys.stdin when it ends.
            self._pipe = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8", errors="replace")

    async def line(self, prompt: str = "> ") -> str | None:
        """The next line without its end; None when there are no more.

        Whoever is cancelled leaves the line that is being typed to the next to ask.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(prompt))
        elif self.interactive:
            sys.stderr.write(prompt)
            sys.stderr.flush()
        reading = self._reading
        await asyncio.wait({reading})
        self._reading = None
        return reading.result()

    async def _read(self, prompt: str) -> str | None:
        if self._pipe is None:
            return await _in_thread(lambda: _ask(prompt))
        read = await _in_thread(self._pipe.readline)
        return read.rstrip("\r\n") if read else None


def _ask(prompt: str) -> str | None:
    """``input`` writes its prompt to stdout unless that is another place than the terminal."""
    try:
        return input(prompt)
    except EOFError:
        return None


async def _in_thread(read: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # pyright: ignore[reportArgumentType]  no error, so a T

    def work() -> None:
        value, problem = None, None
        try:
            value = read()
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, problem)

    threading.Thread(target=work, name="stdin", daemon=True).start()
    return await answer
