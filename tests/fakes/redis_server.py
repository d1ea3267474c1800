"""A real redis-server on a free port of loopback, which keeps nothing and is stopped by its pid."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotThere


class RedisServer:
    """One process; ``stop`` kills it and ``start`` begins it again, empty, on the same port."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("no redis-server on this machine")
        self._program, self._folder = program, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Any:  # its stubs leave half of the commands' types open
        return Redis(port=self.port)

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        options += ["--appendonly", "no", "--dir", str(self._folder)]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, *options], stdout=log, stderr=log)
        for _ in range(600):
            with self.client as client:
                try:
                    client.ping()
                except NotThere:
                    assert self._process.poll() is None, "redis-server ended"
                    time.sleep(0.05)
                else:
                    return
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        """Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None
