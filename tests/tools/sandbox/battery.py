"""Runs every attack against every backend: ``python -m tests.tools.sandbox.battery``.

Prints the table of docs/security.md. Set-up and targets are made anew for each backend.
"""

import asyncio
import json
import os
import secrets
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from core.errors import SandboxUnavailableError
from tests.tools.sandbox.attacks import ATTACKS, KILLED_RUNNER, Attack, Target, cleared
from tests.tools.sandbox.machine import (
    ORPHAN_AND_SLEEP,
    PROJECT,
    processes_with,
    python,
    run_plainly,
    start_runner,
    unique_seconds,
    until_running,
)
from tools.base import ToolContext
from tools.files import ReadFile
from tools.invoke import invoke
from tools.sandbox.base import Sandbox, SandboxLimits, SandboxOutcome
from tools.sandbox.bubblewrap import BubblewrapSandbox
from tools.sandbox.rlimits import RlimitsSandbox
from tools.sandbox.sandlock import SandlockSandbox
from tools.workspace import Workspace

BACKENDS = {
    "bubblewrap": BubblewrapSandbox,
    "sandlock": SandlockSandbox,
    "rlimits": RlimitsSandbox,
}
LIMITS = SandboxLimits(
    timeout_seconds=3,
    memory_bytes=192 * 2**20,
    disk_bytes=16 * 2**20,
    max_processes=20,
    max_output_bytes=10_000,
)
_AT_ONCE = 6
_ALONE = ("fork bomb", "memory, one process", "memory, eight processes")
_SECONDS_TO_DIE = 10
SECRET_VARIABLE = "MANUS_BATTERY_KEY"


class _Collector(asyncio.DatagramProtocol):
    def __init__(self, received: list[bytes]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received.append(data)


@asynccontextmanager
async def targets(place: Path, secret: str) -> AsyncGenerator[Target]:
    """A secret, listeners of four kinds and a victim process, as long as the context."""
    home = place / "home"
    home.mkdir(mode=0o700)
    (home / "secret").write_text(secret, encoding="utf-8")
    workspace = Workspace(home / "workspace")
    sibling = workspace.step("sibling").path / "file"
    sibling.write_text("x", encoding="utf-8")
    received: list[bytes] = []
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as held:
        tcp = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
        held.callback(tcp.close)
        at_path = await asyncio.start_unix_server(lambda _, w: w.close(), home / "socket")
        held.callback(at_path.close)
        udp, _ = await loop.create_datagram_endpoint(lambda: _Collector(received), ("127.0.0.1", 0))
        held.callback(udp.close)
        abstract = held.enter_context(socket.socket(socket.AF_UNIX))
        name = secrets.token_hex()
        abstract.bind("\0" + name)
        abstract.listen()
        victim = await asyncio.create_subprocess_exec("sleep", unique_seconds())
        held.push_async_callback(victim.wait)
        held.callback(victim.kill)
        values: dict[str, str | int | list[str]] = {
            "secret_file": str(home / "secret"),
            "ours": [str(PROJECT / "pyproject.toml"), str(PROJECT / ".env"), str(home)],
            "outside": [str(home / "planted"), "/etc/planted-by-battery", "/var/tmp/planted"],
            "sibling": str(sibling),
            "tcp": tcp.sockets[0].getsockname()[1],
            "udp": udp.get_extra_info("sockname")[1],
            "socket": str(home / "socket"),
            "abstract": name,
            "victim": victim.pid,
            "count": 8,
            "mebibytes": 400,
        }
        yield Target(workspace.step("base"), "", secret, values, received)


def _aimed(target: Target, number: int) -> Target:
    token = unique_seconds()
    workspace = Workspace(target.directory.root)
    values = {**target.values, "token": token}
    return replace(target, directory=workspace.step(f"attack-{number}"), token=token, values=values)


async def breaks_out(sandbox: Sandbox, attack: Attack, target: Target) -> bool:
    """Whether one attack works."""
    if attack.name == KILLED_RUNNER:
        return await _outlives_its_runner(sandbox, target)
    arguments = [json.dumps(target.values)]
    if attack.name == "fork bomb":
        arguments.append(target.token)
    outcome = await sandbox.run(python(target.directory, attack.code, *arguments, limits=LIMITS))
    if attack.host_reads:
        outcome = replace(outcome, stdout=await _read_by_host(target, attack.host_reads))
    await asyncio.sleep(0)
    return attack.judge(target, outcome)


async def works_plainly(attack: Attack, target: Target) -> bool:
    """Whether it works with no sandbox, run by this user."""
    arguments = json.dumps(target.values)
    output = await run_plainly(target.directory, attack.code, arguments)
    await asyncio.sleep(0.05)
    return attack.judge(target, SandboxOutcome(0, output.encode(), b"", 0, "rlimits"))


async def _read_by_host(target: Target, name: str) -> bytes:
    tool = ReadFile().bind(ToolContext(target.directory))
    async with asyncio.timeout(5):
        return (await invoke(tool, {"path": name})).text.encode()


async def _outlives_its_runner(sandbox: Sandbox, target: Target) -> bool:
    code = ORPHAN_AND_SLEEP.replace("{token}", target.token)
    runner = await start_runner(target.directory, sandbox.level, code)
    try:
        await until_running(f"sleep\0{target.token}")
    finally:
        runner.kill()
        await runner.wait()
    for _ in range(_SECONDS_TO_DIE * 20):
        if not processes_with(target.token):
            return False
        await asyncio.sleep(0.05)
    return True


async def escapes(sandbox: Sandbox) -> list[str]:
    """Names of the attacks that work against a backend."""
    secret = secrets.token_hex()
    os.environ[SECRET_VARIABLE] = secret
    limited = asyncio.Semaphore(_AT_ONCE)
    found: list[str] = []

    async def attack_once(number: int, attack: Attack, target: Target) -> None:
        async with limited:
            if await breaks_out(sandbox, attack, _aimed(target, number)):
                found.append(attack.name)

    try:
        with tempfile.TemporaryDirectory() as place:
            async with targets(Path(place), secret) as target:
                numbered = list(enumerate(ATTACKS))
                for number, attack in numbered:
                    if attack.name in _ALONE:
                        await attack_once(number, attack, target)
                rest = [(n, a) for n, a in numbered if a.name not in _ALONE]
                await asyncio.gather(*(attack_once(n, a, target) for n, a in rest))
    finally:
        del os.environ[SECRET_VARIABLE]
        cleared(PROJECT)
        await sandbox.close()
    return [attack.name for attack in ATTACKS if attack.name in found]


async def table() -> str:
    """Markdown: a line per attack, a column per backend that works here."""
    columns: dict[str, list[str]] = {}
    for name, make in BACKENDS.items():
        sandbox = make()
        try:
            await sandbox.probe()
        except SandboxUnavailableError:
            continue
        columns[name] = await escapes(sandbox)
    lines = [f"| attack | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for attack in ATTACKS:
        results = ["**works**" if attack.name in found else "held" for found in columns.values()]
        lines.append(f"| {attack.name} | {' | '.join(results)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(asyncio.run(table()))
