"""The one place where a call becomes a result, whatever happens in the tool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from core.base import JsonObject
from core.errors import (
    AnswerToModelError,
    EnvironmentUnusableError,
    InvalidArgumentsError,
    ManusError,
)
from tools.base import BaseTool, ToolResult

_log = logging.getLogger(__name__)
_SHOWN_PROBLEMS = 5
_SHOWN_CHARACTERS = 300


async def invoke(tool: BaseTool, arguments: JsonObject) -> ToolResult:
    """Checks the arguments, runs a bound tool, and answers with an error result where it fails.

    Raises:
        EnvironmentUnusableError: no model can mend the machine; the run must hear of it.
        CancelledError: and what else is no Exception.
    """
    bound = asyncio.timeout(tool.timeout_seconds)
    try:
        check_arguments(tool, arguments)
        async with bound:
            return await tool.execute(**arguments)
    except EnvironmentUnusableError:
        raise
    except AnswerToModelError as error:
        return ToolResult(error=str(error))
    except Exception as error:  # noqa: BLE001 - a failing tool is an answer, not a crash
        if isinstance(error, TimeoutError) and bound.expired():
            return ToolResult(error=f"{tool.name} did not finish in {tool.timeout_seconds:g} s")
        _log.exception("tool %s failed", tool.name)
        kind = "" if isinstance(error, ManusError) else f"{type(error).__name__}: "
        return ToolResult(error=f"{tool.name} failed: {kind}{error}")


def check_arguments(tool: BaseTool, arguments: JsonObject) -> None:
    """Holds arguments against the tool's JSON schema.

    Raises:
        InvalidArgumentsError: names each argument, what is wrong with it, and what is expected.
    """
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # With a registry of its own a schema, which may be a stranger's, cannot have anything fetched.
    nothing: Registry[Any] = Registry()
    validator = Draft202012Validator(tool.parameters, registry=nothing)
    found = validator.iter_errors(arguments)  # pyright: ignore[reportUnknownMemberType]
    problems = [f"{_place(error.absolute_path)}{error.message}" for error in found]
    if problems:
        shown = "; ".join(p[:_SHOWN_CHARACTERS] for p in sorted(problems)[:_SHOWN_PROBLEMS])
        raise InvalidArgumentsError(f"{tool.name}: {shown}. {_expected(tool.parameters)}")


def _place(path: Iterable[str | int]) -> str:
    dotted = ".".join(str(part) for part in path)
    return f"'{dotted}': " if dotted else ""


def _expected(schema: JsonObject) -> str:
    required = set(schema.get("required", ()))
    names = [n if n in required else f"{n} (optional)" for n in schema.get("properties", {})]
    return f"Arguments: {', '.join(names)}." if names else "It takes no arguments."
