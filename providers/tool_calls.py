"""Tool calls as models write them: arguments that may not be JSON, ids that may be missing."""

from __future__ import annotations

import json
from typing import Any, cast
from uuid import uuid4

from core.message import ToolCallPart

MAX_SHOWN_CHARS = 200


def read_tool_call(call_id: str | None, name: str, arguments: object) -> ToolCallPart:
    """A call from what the wire says, whatever it says.

    ``arguments`` is an object, or the JSON text of one; the empty text means no arguments. Anything
    else is told in ``arguments_error``, for the model to correct. A missing id is minted.
    """
    values, problem = _read_arguments(arguments)
    return ToolCallPart(
        id=call_id or f"call_{uuid4().hex[:24]}",
        name=name,
        arguments=values,
        arguments_error=problem,
    )


def _read_arguments(arguments: object) -> tuple[dict[str, Any], str | None]:
    value = arguments
    if isinstance(arguments, str):
        if not arguments.strip():
            return {}, None
        try:
            value = json.loads(arguments)
        except ValueError as error:
            return {}, f"arguments are not valid JSON ({error}): {arguments[:MAX_SHOWN_CHARS]}"
    if value is None:
        return {}, None
    if not isinstance(value, dict):
        shown = str(arguments)[:MAX_SHOWN_CHARS]
        return {}, f"arguments must be a JSON object, not {type(value).__name__}: {shown}"
    return cast("dict[str, Any]", value), None
