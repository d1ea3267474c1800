"""What bubblewrap reports about a run: which process is the namespace's init, and how it ended."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from typing import Any


class RunReport:
    """The reading end of ``--json-status-fd``; ``write_fd`` is for the child."""

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        self._init_fd: int | None = None
        self._content = b""

    async def underway(self) -> None:
        """Returns once bubblewrap is bound to this process's life and has forked, or is gone."""
        await _readable(self._read_fd)
        self._content += os.read(self._read_fd, 65_536)
        pid = next((d["child-pid"] for d in self._documents() if "child-pid" in d), None)
        if pid is not None:
            with suppress(ProcessLookupError):
                self._init_fd = os.pidfd_open(pid)

    async def emptied(self) -> None:
        """Returns when the namespace's init, and with it every process inside, is dead.

        bubblewrap itself ends with its command, a moment before what that left behind.
        """
        if self._init_fd is not None:
            await _readable(self._init_fd)

    def command_started(self) -> bool:
        """An exit code is reported only of a command that could be started. To be asked last."""
        while piece := os.read(self._read_fd, 65_536):
            self._content += piece
        return any("exit-code" in document for document in self._documents())

    def close(self) -> None:
        os.close(self._read_fd)
        if self._init_fd is not None:
            os.close(self._init_fd)

    def _documents(self) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = []
        for line in self._content.splitlines():
            with suppress(json.JSONDecodeError):
                documents.append(json.loads(line))
        return documents


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)
