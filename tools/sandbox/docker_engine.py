"""The few calls of the Docker Engine's HTTP API that a sandbox needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.base import JsonObject
from core.errors import SandboxUnavailableError

if TYPE_CHECKING:
    import httpx

DEFAULT_HOST = "unix:///var/run/docker.sock"
_API = "/v1.41"
_CONNECT_SECONDS = 2.0
_READ_SECONDS = 30.0
_FRAME_HEADER_BYTES = 8
_STDERR = 2
_NOT_FOUND = 404
_PULL = ". 'docker pull' it, or name another image under [sandbox]"


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """``host`` is ``unix:///path`` or ``tcp://address:port`` without TLS, as in DOCKER_HOST."""

    host: str

    @classmethod
    def from_environment(cls) -> DockerEngine:
        return cls(os.environ.get("DOCKER_HOST") or DEFAULT_HOST)

    async def ping(self) -> None:
        await self._call("GET", "/_ping")

    async def create(self, configuration: JsonObject) -> str:
        """The new container's id."""
        return (await self._call("POST", "/containers/create", configuration))["Id"]

    async def start(self, container: str) -> None:
        await self._call("POST", f"/containers/{container}/start")

    async def wait(self, container: str) -> int:
        """The exit code, once the container has stopped; waits as long as it takes."""
        answer = await self._call("POST", f"/containers/{container}/wait", patient=True)
        return int(answer["StatusCode"])

    async def ran_out_of_memory(self, container: str) -> bool:
        answer = await self._call("GET", f"/containers/{container}/json")
        return bool(answer["State"].get("OOMKilled"))

    async def remove(self, container: str) -> None:
        """Kills and removes. Idempotent."""
        await self._call("DELETE", f"/containers/{container}?force=1&v=1", gone_is_fine=True)

    async def _call(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        patient: bool = False,
        gone_is_fine: bool = False,
    ) -> Any:
        import httpx

        try:
            async with self._client(patient) as client:
                answer = await client.request(method, _API + path, json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(str(error) or type(error).__name__) from error
        if answer.status_code == _NOT_FOUND and gone_is_fine:
            return None
        if answer.is_error:
            advice = _PULL if answer.status_code == _NOT_FOUND and body else ""
            raise SandboxUnavailableError(f"Docker at {self.host}: {_message(answer)}{advice}")
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.json() if is_json and answer.content else None

    def _client(self, patient: bool) -> httpx.AsyncClient:
        import httpx

        address = urlsplit(self.host)
        timeout = httpx.Timeout(None if patient else _READ_SECONDS, connect=_CONNECT_SECONDS)
        if address.scheme == "unix":
            transport = httpx.AsyncHTTPTransport(uds=address.path)
            return httpx.AsyncClient(
                transport=transport, base_url="http://docker", timeout=timeout, trust_env=False
            )
        return httpx.AsyncClient(
            base_url=f"http://{address.netloc}", timeout=timeout, trust_env=False
        )

    @asynccontextmanager
    async def attached(self, container: str) -> AsyncGenerator[Attachment]:
        """Both directions of a container's streams, to be opened before it is started.

        Goes round httpx: the connection stops being HTTP after the answer's head.
        """
        reader, writer = await self._connected()
        try:
            query = "stream=1&stdin=1&stdout=1&stderr=1"
            writer.write(
                f"POST {_API}/containers/{container}/attach?{query} HTTP/1.1\r\n"
                "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ", 2)[1] not in (b"101", b"200"):
                raise self._unreachable(head.decode(errors="replace").splitlines()[0])
            yield Attachment(reader, writer)
        except asyncio.IncompleteReadError as error:
            raise self._unreachable("it closed the connection") from error
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _connected(self) -> tuple[StreamReader, StreamWriter]:
        address = urlsplit(self.host)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                if address.scheme == "unix":
                    return await asyncio.open_unix_connection(address.path)
                return await asyncio.open_connection(address.hostname, address.port)
        except (OSError, TimeoutError) as error:
            raise self._unreachable(str(error)) from error

    def _unreachable(self, reason: str) -> SandboxUnavailableError:
        return SandboxUnavailableError(
            f"Docker at {self.host} does not answer: {reason}. Start the engine or set DOCKER_HOST"
        )


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's streams over one connection."""

    reader: StreamReader
    writer: StreamWriter

    async def split(self, stdout: StreamReader, stderr: StreamReader) -> None:
        """Feeds two readers from the multiplexed stream until it ends.

        Each frame is a head of stream number, three zero bytes and a big-endian length, and then
        that many bytes.
        """
        try:
            while True:
                head = await self.reader.readexactly(_FRAME_HEADER_BYTES)
                target = stderr if head[0] == _STDERR else stdout
                left = int.from_bytes(head[4:], "big")
                while left:
                    piece = await self.reader.read(min(left, 65_536))
                    if not piece:
                        return
                    target.feed_data(piece)
                    left -= len(piece)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass  # the container is gone, and so is its end of the connection
        finally:
            stdout.feed_eof()
            stderr.feed_eof()


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
