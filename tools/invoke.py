"""The one place where a call becomes a result, whatever happens in the tool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from core.base import JsonObject
from core.errors import (
    AnswerToModelError,
    BudgetExceededError,
    CorruptRecordError,
    EnvironmentUnusableError,
    InvalidArgumentsError,
    ManusError,
    StaleRecordError,
)
from tools.base import BaseTool, ToolResult
from tools.result_bounds import bounded

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_log = logging.getLogger(__name__)
_SHOWN_PROBLEMS = 5
_SHOWN_CHARACTERS = 300
_MOST_REFERENCES = 10_000
STOPS_THE_STEP = (
    BudgetExceededError,
    CorruptRecordError,
    EnvironmentUnusableError,
    StaleRecordError,
)
"""Not the tool's failure. As its recorded answer it would be repeated when the cause is gone."""


async def invoke(tool: BaseTool, arguments: JsonObject) -> ToolResult:
    """Checks the arguments, runs a bound tool, and answers with an error result where it fails.

    Raises:
        ManusError: one of ``STOPS_THE_STEP``; no model can mend it, the run must hear of it.
        CancelledError: and what else is no Exception.
    """
    bound = asyncio.timeout(tool.timeout_seconds)
    try:
        check_arguments(tool, arguments)
        async with bound:
            return bounded(tool.name, await tool.execute(**arguments))
    except STOPS_THE_STEP:
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
    found = _validator(tool.parameters).iter_errors(arguments)  # pyright: ignore[reportUnknownMemberType]
    problems = [f"{_place(error.absolute_path)}{error.message}" for error in found]
    if problems:
        shown = "; ".join(p[:_SHOWN_CHARACTERS] for p in sorted(problems)[:_SHOWN_PROBLEMS])
        raise InvalidArgumentsError(f"{tool.name}: {shown}. {_expected(tool.parameters)}")


def _validator(schema: JsonObject) -> Validator:
    """Of a schema that may be a stranger's: nothing is fetched, and checking it comes to an end.

    Without references a schema costs what it is long. With them a short one can double a dozen
    times over, and this would hold up all else in the process.
    """
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    follow: Any = Draft202012Validator.VALIDATORS["$ref"]
    left = iter(range(_MOST_REFERENCES))

    def counted(validator: Any, reference: Any, instance: Any, part: Any) -> Iterator[Any]:
        if next(left, None) is None:
            raise InvalidArgumentsError("the tool's schema refers on too often to be checked")
        yield from follow(validator, reference, instance, part) or ()

    extend: Any = validators.extend  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    counting: Any = extend(Draft202012Validator, {"$ref": counted})
    nothing: Registry[Any] = Registry()
    return counting(schema, registry=nothing)


def _place(path: Iterable[str | int]) -> str:
    dotted = ".".join(str(part) for part in path)
    return f"'{dotted}': " if dotted else ""


def _expected(schema: JsonObject) -> str:
    required = set(schema.get("required", ()))
    names = [n if n in required else f"{n} (optional)" for n in schema.get("properties", {})]
    return f"Arguments: {', '.join(names)}." if names else "It takes no arguments."
