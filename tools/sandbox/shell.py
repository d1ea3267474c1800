"""A bash that stays open in a sandbox: directory, variables and functions last between commands.

Commands go in by standard input, each with the inputs it exports. Where one ends is told by a
token that the shell itself reads only after the command has ended, and that is written to copies of
the two output streams which no command gets; so no output can pass for an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from asyncio import StreamReader
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.sandbox.base import Killed, Level, LiveProcess, SandboxLimits, SandboxOutcome
from tools.sandbox.output import CappedOutput

SHELL = ("/bin/bash", "--noprofile", "--norc")
SETUP = b"exec 250<&0 251>&1 252>&2\n"
"""What a shell is given first: copies of its streams, out of the way of commands."""

_READ = "{ IFS= read -r -u 250 -d '' %s; } 2>/dev/null\n"
_EXPORT = "export %s\n"
_RUN = """\
{ __manus_problem=$(/bin/bash -n -c "$__manus_command" 2>&1 </dev/null) || :; } 2>/dev/null
case $__manus_problem in
*'unexpected EOF while'*) printf '%s\\n' "$__manus_problem" >&2; (exit 2);;
*) eval "$__manus_command" </dev/null 250<&- 251>&- 252>&-;;
esac
{ __manus_code=$?; IFS= read -r -u 250 -d '' __manus_token
printf '%s:%d:' "$__manus_token" "$__manus_code" >&251
printf '%s:%d:' "$__manus_token" "$__manus_code" >&252
unset __manus_token __manus_code; } 2>/dev/null
"""
_TOKEN_BYTES = 16
_MAX_CODE_CHARACTERS = 5


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """``text`` and the values of ``variables`` hold no NUL byte."""

    text: str
    limits: SandboxLimits
    variables: Mapping[str, str] = field(default_factory=dict[str, str])


class Shell:
    """One open shell; commands run one at a time. ``alive`` is false once it has ended."""

    def __init__(self, process: LiveProcess, level: Level) -> None:
        self._process = process
        self.level: Level = level
        self._rest = (bytearray(), bytearray())
        self.alive = True

    async def run(self, command: ShellCommand) -> SandboxOutcome:
        """Runs one command. A limit, a cancellation, and the command itself may end the shell."""
        started = time.monotonic()
        limit = command.limits.max_output_bytes
        reading = _Reading(self._process, self._rest, (CappedOutput(limit), CappedOutput(limit)))
        self._process.begin_command()
        try:
            killed = await reading.until_done(_script(command, reading.token), command.limits)
        except BaseException:
            await self._end()
            raise
        code = reading.code
        if killed or code is None:
            ended_with = await self._end()
            code = ended_with if code is None or killed else code
            await reading.drain()
        return SandboxOutcome(
            exit_code=code,
            stdout=reading.outputs[0].kept,
            stderr=reading.outputs[1].kept,
            duration_seconds=time.monotonic() - started,
            level=self.level,
            killed=killed,
            truncated=any(output.truncated for output in reading.outputs),
        )

    async def _end(self) -> int:
        self.alive = False
        return await self._process.end()


def _script(command: ShellCommand, token: bytes) -> bytes:
    parts: list[bytes] = []
    for name, value in (*command.variables.items(), ("__manus_command", command.text)):
        parts += [(_READ % name).encode(), value.encode(errors="surrogateescape"), b"\0"]
    parts += [(_EXPORT % name).encode() for name in command.variables]
    return b"".join((*parts, _RUN.encode(), token, b"\0"))


class _Reading:
    """One command under way: both streams up to its token, or to their end."""

    def __init__(
        self,
        process: LiveProcess,
        rest: tuple[bytearray, bytearray],
        outputs: tuple[CappedOutput, CappedOutput],
    ) -> None:
        self.token = secrets.token_hex(_TOKEN_BYTES).encode()
        self.outputs = outputs
        self.code: int | None = None
        self._process = process
        streams = (process.stdout, process.stderr)
        self._reads = [
            asyncio.ensure_future(self._until_token(stream, kept, output))
            for stream, kept, output in zip(streams, rest, outputs, strict=True)
        ]

    async def until_done(self, script: bytes, limits: SandboxLimits) -> Killed | None:
        """Sends the script; returns at the command's end, the shell's, or at a limit."""
        ending = asyncio.ensure_future(self._process.ended())
        try:
            async with asyncio.timeout(limits.timeout_seconds):
                await self._send(script)
                return await self._first_end(ending)
        except TimeoutError:
            return "timeout"
        finally:
            ending.cancel()
            if self.code is None:
                # What is buffered after the end is read by ``drain``.
                await asyncio.wait({ending})

    async def _send(self, script: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(script)
            await self._process.stdin.drain()

    async def _first_end(self, ending: asyncio.Future[Killed | None]) -> Killed | None:
        pending: set[asyncio.Future[Any]] = {*self._reads, ending}
        while not all(read.done() for read in self._reads):
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if any(read.done() and not read.result() for read in self._reads):
                if any(output.overflowing for output in self.outputs):
                    return "output"
                return await ending
            if ending.done():
                return ending.result()
            pending = {ending, *(read for read in self._reads if not read.done())}
        return None

    async def drain(self) -> None:
        """Takes what a dead shell left in its streams."""
        await asyncio.wait(self._reads)
        for stream, output in zip(
            (self._process.stdout, self._process.stderr), self.outputs, strict=True
        ):
            await output.drain(stream)

    async def _until_token(
        self, stream: StreamReader, kept: bytearray, output: CappedOutput
    ) -> bool:
        """Whether the token came; False at the stream's end and when too much is written."""
        longest = len(self.token) + _MAX_CODE_CHARACTERS
        while (found := self._end_of_token(kept)) is None:
            # The last bytes may be the token's beginning.
            if (ready := len(kept) - longest) > 0:
                output.add(bytes(kept[:ready]))
                del kept[:ready]
            chunk = b"" if output.overflowing else await stream.read(65_536)
            if not chunk:
                output.add(bytes(kept))
                kept.clear()
                return False
            kept += chunk
        output.add(bytes(kept[: found[0]]))
        del kept[: found[1]]
        return True

    def _end_of_token(self, kept: bytearray) -> tuple[int, int] | None:
        """Where the token begins and where its line ends, once both are there."""
        begin = kept.find(self.token + b":")
        if begin < 0:
            return None
        digits = begin + len(self.token) + 1
        end = kept.find(b":", digits)
        if end < 0:
            return None
        self.code = int(kept[digits:end])
        return begin, end + 1
