"""Shell commands in the sandbox, each in a fresh shell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from core.base import JsonObject
from core.errors import InvalidArgumentsError
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.sandbox.base import SandboxCommand
from tools.sandboxed import INPUTS_TEXT, TIMEOUT_SCHEMA, failure, result

_MAX_VARIABLE_BYTES = 100_000
"""Linux refuses a single variable or argument of 128 KiB."""


class Bash(BaseTool):
    name = "bash"
    description = (
        "Runs a bash command in the step's working directory, without network. Every call is a "
        "new shell: variables and 'cd' do not last, files do. Returns stdout and stderr."
    )
    parameters = object_schema(
        ("command",),
        command={"type": "string", "minLength": 1},
        timeout_seconds=TIMEOUT_SCHEMA,
        inputs={
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "description": f"{INPUTS_TEXT} NAME arrives as the variable INPUT_NAME: text as it is, "
            "other values as JSON.",
        },
    )
    annotations = ToolAnnotations()
    verbatim: ClassVar[frozenset[str]] = frozenset({"command"})
    on_unknown = "rerun"

    async def execute(
        self,
        command: str,
        timeout_seconds: float | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        if "\0" in command or len(command.encode()) > _MAX_VARIABLE_BYTES:
            raise InvalidArgumentsError(
                f"'command': at most {_MAX_VARIABLE_BYTES} bytes without NUL; write a file instead"
            )
        limits = self.context.limits
        allowed = min(timeout_seconds or limits.timeout_seconds, limits.timeout_seconds)
        limits = replace(limits, timeout_seconds=allowed)
        outcome = await self.sandbox.run(
            SandboxCommand(
                argv=("/bin/bash", "-c", command),
                directory=self.context.directory,
                environment={**self.context.environment, **_variables(inputs or {})},
                limits=limits,
            )
        )
        return result(outcome, failure(outcome, limits))


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
