"""The Daytona backend: a new machine of the service for each command, deleted after it.

Speaks the service's HTTP API itself (as its SDK 0.226 does), so nothing has to be installed. The
step's files and those it may read go up before the command, what it changed comes down after it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from asyncio import StreamReader
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.base import JsonObject
from core.errors import SandboxUnavailableError
from core.tool_settings import DaytonaSettings
from tools.sandbox.base import Killed, Level, SandboxCommand, SandboxOutcome
from tools.sandbox.layout import argv_elsewhere
from tools.sandbox.output import CappedOutput
from tools.sandbox.probe import probe_sandbox
from tools.sandbox.process import uninterrupted
from tools.sandbox.transfer import Returned, packed, unpacked

if TYPE_CHECKING:
    import httpx

_PLACE = "/tmp/manus"
_POLL_SECONDS = 0.5
_REQUEST_SECONDS = 60.0
_MARGIN_SECONDS = 30.0
_TIMED_OUT = (124, 137)
_FAILED_STATES = ("error", "build_failed", "destroyed", "destroying", "stopped", "archived")
_SCRIPT = """\
mkdir -p {place} && cd {place} && tar -xf {place}.tar && cd workspace/{step} || exit 99
ulimit -c 0; ulimit -f {blocks}; ulimit -u {tasks} 2>/dev/null
timeout -k 1 {seconds} {command} <{place}/stdin >{place}/stdout 2>{place}/stderr
echo $? >{place}/code
cd {place}
if [ "$(du -sk workspace/{step} | cut -f1)" -gt {kilobytes} ]; then
    echo full >disk; tar -cf {place}-back.tar code disk stdout stderr
else
    tar -cf {place}-back.tar code stdout stderr workspace/{step}
fi
"""


class DaytonaSandbox:
    """See ``tools.sandbox.base.Sandbox``. Memory and CPU are bounded by the service's machine."""

    level: Level = "daytona"

    def __init__(self, settings: DaytonaSettings) -> None:
        """Raises SandboxUnavailableError where no key is set."""
        key = settings.api_key.get_secret_value() if settings.api_key else None
        key = key or os.environ.get("DAYTONA_API_KEY")
        if not key:
            raise SandboxUnavailableError(
                "no key: set api_key under [daytona], or the variable DAYTONA_API_KEY"
            )
        self._settings = settings
        self._key = key

    async def probe(self) -> None:
        await probe_sandbox(self)

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        archive = await asyncio.to_thread(packed, command.directory, command.stdin)
        async with self._machine(command) as machine:
            await machine.upload(f"{_PLACE}.tar", archive)
            started = time.monotonic()
            await machine.execute(_script(command), command)
            seconds = time.monotonic() - started
            bound = command.limits.disk_bytes + len(archive)
            content = await machine.download(f"{_PLACE}-back.tar", bound)
        returned = await asyncio.to_thread(unpacked, command.directory, content)
        return await _outcome(command, returned, seconds)

    async def close(self) -> None:
        """Nothing is kept."""

    @asynccontextmanager
    async def _machine(self, command: SandboxCommand) -> AsyncGenerator[_Machine]:
        import httpx

        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(headers=headers, timeout=_REQUEST_SECONDS) as client:
            base = self._settings.server_url.rstrip("/")
            creating = asyncio.ensure_future(
                _json(client, "POST", f"{base}/sandbox", json=self._order(command))
            )
            created: JsonObject = {}
            try:
                created = await asyncio.shield(creating)
                ready = await self._ready(client, f"{base}/sandbox/{created['id']}", created)
                yield _Machine(client, f"{ready['toolboxProxyUrl'].rstrip('/')}/{ready['id']}")
            finally:
                await uninterrupted(_delete(client, base, creating))

    def _order(self, command: SandboxCommand) -> JsonObject:
        order: JsonObject = {
            "env": {},
            "labels": {"manus-flows": "sandbox"},
            "public": False,
            "networkBlockAll": not command.limits.network,
            "autoStopInterval": 15,
            # Deleted by the service as well, should this process die.
            "autoDeleteInterval": 0,
            "target": self._settings.target or os.environ.get("DAYTONA_TARGET"),
            "snapshot": self._settings.image,
        }
        return {name: value for name, value in order.items() if value is not None}

    async def _ready(self, client: httpx.AsyncClient, url: str, machine: JsonObject) -> JsonObject:
        deadline = time.monotonic() + self._settings.start_seconds
        while machine.get("state") != "started":
            if machine.get("state") in _FAILED_STATES or time.monotonic() > deadline:
                reason = machine.get("errorReason") or "it takes too long"
                raise SandboxUnavailableError(
                    f"Daytona's machine does not start: {machine.get('state')}: {reason}"
                )
            await asyncio.sleep(_POLL_SECONDS)
            machine = await _json(client, "GET", url)
        return machine


@dataclass(frozen=True, slots=True)
class _Machine:
    """The toolbox API of one machine."""

    client: httpx.AsyncClient
    url: str

    async def upload(self, path: str, content: bytes) -> None:
        await _json(
            self.client,
            "POST",
            f"{self.url}/files/upload-v2",
            params={"path": path},
            files={"file": content},
        )

    async def execute(self, script: str, command: SandboxCommand) -> None:
        seconds = command.limits.timeout_seconds + _MARGIN_SECONDS
        order = {
            "command": f"sh -c {shlex.quote(script)}",
            "envs": dict(command.environment),
            "timeout": int(seconds),
        }
        url = f"{self.url}/process/execute"
        answer = await _json(self.client, "POST", url, json=order, timeout=seconds)
        if answer.get("exitCode"):
            raise SandboxUnavailableError(f"Daytona could not run it: {answer.get('result')}")

    async def download(self, path: str, bound: int) -> bytes:
        """At most ``bound`` bytes and the room an archive's heads take."""
        content = bytearray()
        url = f"{self.url}/files/download"
        async with self.client.stream("GET", url, params={"path": path}) as answer:
            await _require_success(answer)
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > 2 * bound + 2**20:
                    raise SandboxUnavailableError("Daytona sends back more than the disk limit")
        return bytes(content)


async def _json(client: httpx.AsyncClient, method: str, url: str, **options: Any) -> Any:
    import httpx

    try:
        answer = await client.request(method, url, **options)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise SandboxUnavailableError(f"Daytona does not answer: {reason}") from error
    await _require_success(answer)
    return answer.json() if answer.content else {}


async def _require_success(answer: httpx.Response) -> None:
    if answer.is_error:
        text = (await answer.aread()).decode(errors="replace")[:300]
        raise SandboxUnavailableError(f"Daytona refuses: status {answer.status_code}: {text}")


async def _delete(
    client: httpx.AsyncClient, base: str, creating: asyncio.Future[JsonObject]
) -> None:
    """A machine ordered is a machine to delete, whatever became of the order meanwhile."""
    await asyncio.wait({creating})
    if creating.exception() is None:
        await _json(client, "DELETE", f"{base}/sandbox/{creating.result()['id']}")


def _script(command: SandboxCommand) -> str:
    limits = command.limits
    return _SCRIPT.format(
        place=_PLACE,
        step=shlex.quote(command.directory.step_id),
        blocks=limits.disk_bytes // 512,
        tasks=limits.max_processes * 4,
        seconds=limits.timeout_seconds,
        kilobytes=limits.disk_bytes // 1024,
        command=shlex.join(argv_elsewhere(command.argv)),
    )


async def _outcome(command: SandboxCommand, back: Returned, seconds: float) -> SandboxOutcome:
    limits = command.limits
    killed: Killed | None = "disk" if back.disk_full else None
    if back.exit_code in _TIMED_OUT and seconds >= limits.timeout_seconds:
        killed = "timeout"
    outputs = [await _capped(text, limits.max_output_bytes) for text in (back.stdout, back.stderr)]
    return SandboxOutcome(
        exit_code=back.exit_code,
        stdout=outputs[0].kept,
        stderr=outputs[1].kept,
        duration_seconds=seconds,
        level="daytona",
        killed=killed,
        truncated=any(output.truncated for output in outputs),
    )


async def _capped(content: bytes, limit: int) -> CappedOutput:
    reader, output = StreamReader(), CappedOutput(limit)
    reader.feed_data(content)
    reader.feed_eof()
    await output.drain(reader)
    return output
