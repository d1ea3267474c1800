"""Shell commands in the sandbox, in one shell per step where the sandbox can keep one open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

from core.base import JsonObject
from core.errors import InvalidArgumentsError, SandboxUnavailableError
from core.message import TextPart
from tools.base import BaseTool, ToolAnnotations, ToolContext, ToolResult, object_schema
from tools.sandbox.base import InteractiveSandbox, SandboxCommand, SandboxLimits, SandboxOutcome
from tools.sandbox.shell import SETUP, SHELL, Shell, ShellCommand
from tools.sandboxed import INPUTS_TEXT, TIMEOUT_SCHEMA, annotations_for, failure, result

_MAX_VARIABLE_BYTES = 100_000
"""Linux refuses a single variable or argument of 128 KiB."""

_USED_MARK = "bash-used"
_STARTED_ANEW = (
    "The shell was started anew since this step's earlier bash commands: their directory and "
    "variables are gone, their files are there."
)
_ENDED = "the shell has ended; the next command starts a new one, in the step's directory"
_RESTARTED = "a new shell, in the step's directory"


class Bash(BaseTool):
    name = "bash"
    description = (
        "Runs a bash command in the step's working directory. The shell stays open between calls: "
        "variables, functions and 'cd' last until it is restarted or a limit ends it. Standard "
        "input is empty. Returns stdout and stderr."
    )
    parameters = object_schema(
        command={"type": "string", "minLength": 1},
        restart={
            "type": "boolean",
            "description": "Start a new shell first; without a command, only that.",
        },
        timeout_seconds=TIMEOUT_SCHEMA,
        inputs={
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "description": f"{INPUTS_TEXT} NAME arrives as the variable INPUT_NAME: text as it is, "
            "other values as JSON.",
        },
    )
    verbatim: ClassVar[frozenset[str]] = frozenset({"command"})
    on_unknown = "rerun"

    def __init__(self, network: bool = False) -> None:
        self.annotations: ToolAnnotations = annotations_for(network)

    async def execute(
        self,
        command: str | None = None,
        restart: bool = False,
        timeout_seconds: float | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        if command is None and not restart:
            raise InvalidArgumentsError("bash: give a 'command', or 'restart': true")
        limits = self.context.limits
        allowed = min(timeout_seconds or limits.timeout_seconds, limits.timeout_seconds)
        limits = replace(limits, timeout_seconds=allowed)
        order = _order(command or ":", inputs or {}, limits)
        if not isinstance(self.sandbox, InteractiveSandbox):
            return await self._in_a_shell_of_its_own(order)
        shell = await self._shell(self.sandbox)
        answer = await shell.run(order, restart=restart)
        return answer if command else answer.model_copy(update={"output": _RESTARTED})

    async def _shell(self, sandbox: InteractiveSandbox) -> _StepShell:
        context = self.context

        @asynccontextmanager
        async def opened() -> AsyncGenerator[_StepShell]:
            shell = _StepShell(context, sandbox)
            try:
                yield shell
            finally:
                await shell.close()

        return await self.context.scopes.step.obtain("bash", opened)

    async def _in_a_shell_of_its_own(self, order: ShellCommand) -> ToolResult:
        """For a sandbox that keeps nothing open, as one on another machine."""
        outcome = await self.sandbox.run(
            SandboxCommand(
                argv=("/bin/bash", "-c", order.text),
                directory=self.context.directory,
                environment={**self.context.environment, **order.variables},
                limits=order.limits,
            )
        )
        return result(outcome, failure(outcome, order.limits))


class _StepShell:
    """The shell of one step, opened when it is needed and again after it has ended."""

    def __init__(self, context: ToolContext, sandbox: InteractiveSandbox) -> None:
        self._context = context
        self._sandbox = sandbox
        self._held = AsyncExitStack()
        self._shell: Shell | None = None
        self._turn = asyncio.Lock()
        self._mark = context.private / _USED_MARK if context.private else None
        self._started_anew = self._mark is not None and self._mark.exists()

    async def run(self, order: ShellCommand, *, restart: bool) -> ToolResult:
        """Calls of one turn queue up here."""
        async with self._turn:
            if restart:
                await self.close()
            outcome = await self._run(order)
            ended = self._shell is None
        if self._mark is not None:
            # Only now: a command that did not get this far is run again as if it were the first.
            self._mark.touch()
        notes = [_STARTED_ANEW] if self._started_anew else []
        self._started_anew = False
        error = failure(outcome, order.limits)
        if ended and error:
            error = f"{error}; {_ENDED}"
        elif ended:
            self._started_anew = True  # told with the next result: a note now is one turn more
        state = tuple(TextPart(text=note) for note in notes)
        return result(outcome, error).model_copy(update={"state": state})

    async def _run(self, order: ShellCommand) -> SandboxOutcome:
        if self._shell is None:
            self._shell = await self._opened(order.limits)
        shell = self._shell
        try:
            return await shell.run(order)
        finally:
            if not shell.alive:
                await self.close()

    async def _opened(self, limits: SandboxLimits) -> Shell:
        command = SandboxCommand(
            argv=SHELL,
            directory=self._context.directory,
            environment=self._context.environment,
            stdin=SETUP,
            limits=replace(self._context.limits, timeout_seconds=limits.timeout_seconds),
        )
        process = await self._held.enter_async_context(self._sandbox.open(command))
        shell = Shell(process, self._sandbox.level)
        greeting = await shell.run(ShellCommand(":", self._context.limits))
        if not shell.alive:
            await self.close()
            reason = greeting.stderr.decode(errors="replace").strip() or greeting.killed
            raise SandboxUnavailableError(f"{shell.level}: bash does not start: {reason}")
        return shell

    async def close(self) -> None:
        self._shell = None
        await self._held.aclose()


def _order(command: str, inputs: Mapping[str, Any], limits: SandboxLimits) -> ShellCommand:
    if "\0" in command or len(command.encode()) > _MAX_VARIABLE_BYTES:
        raise InvalidArgumentsError(
            f"'command': at most {_MAX_VARIABLE_BYTES} bytes without NUL; write a file instead"
        )
    return ShellCommand(command, limits, _variables(inputs))


def _variables(inputs: JsonObject | Mapping[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, value in inputs.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if "\0" in text or len(text.encode()) > _MAX_VARIABLE_BYTES:
            raise InvalidArgumentsError(
                f"'inputs.{name}': at most {_MAX_VARIABLE_BYTES} bytes without NUL; use a file"
            )
        variables[f"INPUT_{name.upper()}"] = text
    return variables
