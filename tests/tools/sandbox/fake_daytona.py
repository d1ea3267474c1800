"""Daytona's API and the toolbox of its machines on loopback; a machine is a bubblewrap.

Paths, fields and states are those of the service's published clients (0.226). A machine starts in
``creating`` and is ``started`` when it is asked for a second time.
"""

import asyncio
import contextlib
import json
import re
import shutil
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "dtn_test"


@dataclass(frozen=True)
class Request:
    method: str
    path: list[str]
    query: dict[str, list[str]]
    body: bytes


class FakeDaytona:
    def __init__(self, place: Path) -> None:
        self.orders: list[dict[str, Any]] = []
        self.machines: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.final_state = "started"
        self._place = place
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "FakeDaytona":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()

    @property
    def url(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                method, target, _ = head.split(" ", 2)
                url = urlsplit(target)
                request = Request(method, url.path.strip("/").split("/"), parse_qs(url.query), body)
                known = f"Bearer {KEY}" in head
                status, content = await self._answer(request) if known else (401, b"{}")
                writer.write(
                    f"HTTP/1.1 {status} -\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                await writer.drain()
        writer.close()

    async def _answer(self, request: Request) -> tuple[int, bytes]:
        match request.method, request.path:
            case "POST", ["api", "sandbox"]:
                return 200, json.dumps(self._create(json.loads(request.body))).encode()
            case "GET", ["api", "sandbox", name] if name in self.machines:
                self.machines[name]["state"] = self.final_state
                return 200, json.dumps(self.machines[name]).encode()
            case "DELETE", ["api", "sandbox", name] if name in self.machines:
                self.deleted.append(name)
                shutil.rmtree(self._place / name)
                return 200, json.dumps(self.machines.pop(name)).encode()
            case _, ["toolbox", name, *rest] if name in self.machines:
                return await self._toolbox(request, self._place / name, "/".join(rest))
            case _:
                return 404, b'{"message": "not found"}'

    def _create(self, order: dict[str, Any]) -> dict[str, Any]:
        name = f"machine-{len(self.orders)}"
        self.orders.append(order)
        (self._place / name).mkdir()
        machine = {"id": name, "state": "creating", "toolboxProxyUrl": f"{self.url}/toolbox"}
        self.machines[name] = machine
        return machine

    async def _toolbox(self, request: Request, machine: Path, action: str) -> tuple[int, bytes]:
        path = request.query.get("path", [""])[0].removeprefix("/tmp/")
        match request.method, action:
            case "POST", "files/upload-v2":
                boundary = request.body.split(b"\r\n", 1)[0]
                part = request.body.split(b"\r\n\r\n", 1)[1]
                (machine / path).write_bytes(part[: part.rindex(b"\r\n" + boundary)])
                return 200, b"{}"
            case "GET", "files/download" if (machine / path).is_file():
                return 200, (machine / path).read_bytes()
            case "POST", "process/execute":
                return 200, json.dumps(await _execute(machine, json.loads(request.body))).encode()
            case _:
                return 404, b'{"message": "not found"}'


async def _execute(machine: Path, order: dict[str, Any]) -> dict[str, Any]:
    variables = [f"{name}={value}" for name, value in order["envs"].items()]
    process = await asyncio.create_subprocess_exec(
        *("bwrap", "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"),
        *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
        *("--symlink", "usr/lib64", "/lib64", "--bind", str(machine), "/tmp", "--unshare-pid"),
        *("--unshare-net", "--die-with-parent", "--"),
        *("env", "-i", "PATH=/usr/bin:/bin", *variables, "sh", "-c", order["command"]),
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(order["timeout"]):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return {"exitCode": process.returncode, "result": output.decode(errors="replace")}
