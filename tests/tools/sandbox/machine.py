"""What the tests of the sandbox look at from outside it."""

import asyncio
import json
import os
import random
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from tools.sandbox.base import SandboxCommand, SandboxLimits
from tools.workspace import StepDirectory

ORPHAN = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.execv("/usr/bin/sleep", ["sleep", sys.argv[1]])
    os._exit(0)
"""
"""Leaves a process named by its argument in a session of its own."""


PROJECT = Path(__file__).resolve().parents[3]
RUNNER = Path(__file__).with_name("runner.py")
ORPHAN_AND_SLEEP = (
    f"import sys\nsys.argv[1:] = ['{{token}}']\n{ORPHAN}\nimport time; time.sleep(99)"
)


def unique_seconds() -> str:
    """A number of seconds to sleep by which a process can be found again."""
    return f"{random.randint(3000, 9999)}.{random.randint(10**8, 10**9)}"


def processes_with(token: str) -> list[int]:
    """Live processes whose command line contains a token; this one is left out."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            command = (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if token.encode() in command:
            found.append(int(process.name))
    return found


async def until_running(token: str) -> None:
    deadline = time.monotonic() + 30
    while not processes_with(token):
        assert time.monotonic() < deadline, "the process did not start"
        await asyncio.sleep(0.01)


async def until_gone(token: str) -> None:
    deadline = time.monotonic() + 30
    while alive := processes_with(token):
        assert time.monotonic() < deadline, f"still alive: {alive}"
        await asyncio.sleep(0.02)


async def run_plainly(
    directory: StepDirectory, code: str, *arguments: str, environment: dict[str, str] | None = None
) -> str:
    """The standard output of Python code run as anybody would, in the step's directory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", code, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=directory.path,
        env={**os.environ, **(environment or {})},
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")


def python(
    directory: StepDirectory, code: str, *arguments: str, limits: SandboxLimits | None = None
) -> SandboxCommand:
    return SandboxCommand(
        argv=(sys.executable, "-I", "-S", "-c", code, *arguments),
        directory=directory,
        limits=limits or SandboxLimits(timeout_seconds=30),
    )


async def start_runner(directory: StepDirectory, backend: str, code: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(RUNNER)),
        stdin=PIPE,
        stdout=DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    orders = {"backend": backend, "workspace": str(directory.root), "code": code}
    assert process.stdin
    process.stdin.write(json.dumps(orders).encode())
    process.stdin.close()
    return process
