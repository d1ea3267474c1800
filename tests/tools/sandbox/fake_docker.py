"""A Docker Engine on a unix socket that really runs what it is asked to, in a bubblewrap.

It speaks the wire format of the calls the backend makes: HTTP for the life of a container, the
hijacked connection with its multiplexed frames for its streams. Mounts, the working directory, the
network mode and removal are acted on; what bubblewrap has no counterpart for is only kept in
``configurations`` to be looked at.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE = "python:3.12-slim"


@dataclass
class Container:
    configuration: dict[str, Any]
    process: Process | None = None
    attached: tuple[StreamReader, StreamWriter] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    streams: asyncio.Task[Any] | None = None


class FakeDocker:
    def __init__(self, socket: Path) -> None:
        self.host = f"unix://{socket}"
        self.configurations: list[dict[str, Any]] = []
        self.containers: dict[str, Container] = {}
        self.removed: list[str] = []
        self._socket = socket
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "FakeDocker":
        self._server = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        for name in list(self.containers):
            await self._remove(name)
        self._server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split(" ", 2)
            length = re.search(r"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            path = re.sub(r"^/v[\d.]+", "", target.partition("?")[0])
            if path.endswith("/attach"):
                await self._attach(path.split("/")[2], reader, writer)
                return
            status, answer = await self._answer(method, path, json.loads(body or b"null"))
            content = json.dumps(answer).encode()
            writer.write(
                f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
                + content
            )
            await writer.drain()
        writer.close()

    async def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "GET", ["_ping"]:
                return 200, "OK"
            case "POST", ["containers", "create"]:
                return self._create(body)
            case "POST", ["containers", name, "start"]:
                await self._start(self.containers[name])
                return 204, None
            case "POST", ["containers", name, "wait"] if name in self.containers:
                container = self.containers[name]
                await container.ended.wait()
                assert container.process
                return 200, {"StatusCode": _code(container.process)}
            case "GET", ["containers", name, "json"] if name in self.containers:
                return 200, {"State": {"OOMKilled": False}}
            case "DELETE", ["containers", name] if name in self.containers:
                await self._remove(name)
                return 204, None
            case _:
                return 404, {"message": "No such container"}

    def _create(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["Image"] != IMAGE:
            return 404, {"message": f"No such image: {body['Image']}"}
        name = f"{len(self.configurations):064x}"
        self.configurations.append(body)
        self.containers[name] = Container(body)
        return 201, {"Id": name, "Warnings": []}

    async def _attach(self, name: str, reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        await writer.drain()
        self.containers[name].attached = (reader, writer)

    async def _start(self, container: Container) -> None:
        container.process = await asyncio.create_subprocess_exec(
            *_bubblewrap(container.configuration),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={"PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )
        container.streams = asyncio.create_task(self._move(container, container.process))

    async def _move(self, container: Container, process: Process) -> None:
        assert container.attached
        assert process.stdin
        assert process.stdout
        assert process.stderr
        reader, writer = container.attached
        feeding = asyncio.create_task(_feed(reader, process.stdin))
        await asyncio.gather(_frames(1, process.stdout, writer), _frames(2, process.stderr, writer))
        await process.wait()
        container.ended.set()
        feeding.cancel()
        writer.close()

    async def _remove(self, name: str) -> None:
        container = self.containers.pop(name)
        self.removed.append(name)
        if container.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(container.process.pid, signal.SIGKILL)
            assert container.streams
            await asyncio.wait({container.streams})


async def _feed(reader: StreamReader, stdin: StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            stdin.write(piece)
            await stdin.drain()
        stdin.close()


async def _frames(number: int, source: StreamReader, writer: StreamWriter) -> None:
    while piece := await source.read(20_000):
        with contextlib.suppress(ConnectionError):
            writer.write(bytes([number, 0, 0, 0]) + len(piece).to_bytes(4, "big") + piece)
            await writer.drain()


def _code(process: Process) -> int:
    code = process.returncode
    assert code is not None
    return code if code >= 0 else 128 - code


def _bubblewrap(configuration: dict[str, Any]) -> list[str]:
    host = configuration["HostConfig"]
    options = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--unshare-pid"]
    options += ["--die-with-parent"]
    for directory in ("/bin", "/lib", "/lib64", "/sbin"):
        options += ["--symlink", f"usr{directory}", directory]
    options += ["--tmpfs", "/tmp"] if "/tmp" in host["Tmpfs"] else []
    options += ["--unshare-net"] if host["NetworkMode"] == "none" else []
    for mount in host["Mounts"]:
        kind = "--ro-bind" if mount["ReadOnly"] else "--bind"
        options += [kind, mount["Source"], mount["Target"]]
    options += ["--chdir", configuration["WorkingDir"], "--clearenv"]
    for variable in configuration["Env"]:
        options += ["--setenv", *variable.split("=", 1)]
    return ["bwrap", *options, "--", *configuration["Cmd"]]
