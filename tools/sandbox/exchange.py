"""One command's whole exchange with an open process: input in, both outputs out, bounds kept."""

from __future__ import annotations

import asyncio
import contextlib
import time

from tools.sandbox.base import Killed, Level, LiveProcess, SandboxCommand, SandboxOutcome
from tools.sandbox.output import CappedOutput

_POLL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 5.0


async def exchange(process: LiveProcess, command: SandboxCommand, level: Level) -> SandboxOutcome:
    """Runs an opened process to its end or to the first exceeded limit."""
    started = time.monotonic()
    limit = command.limits.max_output_bytes
    outputs = (CappedOutput(limit), CappedOutput(limit))
    moving = asyncio.gather(
        _feed(process, command.stdin),
        outputs[0].drain(process.stdout),
        outputs[1].drain(process.stderr),
    )
    try:
        killed = await _first_limit(process, command.limits.timeout_seconds, outputs)
        if killed is None:
            # What it wrote last may still be on its way.
            await asyncio.wait({moving}, timeout=_LAST_WORDS_SECONDS)
    finally:
        code = await process.end()
        await asyncio.wait({moving}, timeout=_LAST_WORDS_SECONDS)
        moving.cancel()
    return SandboxOutcome(
        exit_code=code,
        stdout=outputs[0].kept,
        stderr=outputs[1].kept,
        duration_seconds=time.monotonic() - started,
        level=level,
        killed=killed,
        truncated=any(output.truncated for output in outputs),
    )


async def _first_limit(
    process: LiveProcess, timeout_seconds: float, outputs: tuple[CappedOutput, CappedOutput]
) -> Killed | None:
    ending = asyncio.ensure_future(process.ended())
    deadline = time.monotonic() + timeout_seconds
    try:
        while not ending.done():
            if any(output.overflowing for output in outputs):
                return "output"
            if time.monotonic() > deadline:
                return "timeout"
            await asyncio.wait({ending}, timeout=_POLL_SECONDS)
        return ending.result()
    finally:
        ending.cancel()
        await asyncio.wait({ending})


async def _feed(process: LiveProcess, content: bytes) -> None:
    # A command may end without reading what it was given.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(content)
        await process.stdin.drain()
        process.stdin.write_eof()
