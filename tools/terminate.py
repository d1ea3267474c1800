"""How an agent says that it is done, and how it went."""

from __future__ import annotations

from typing import Any, Literal

from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema


class Terminate(BaseTool):
    name = "terminate"
    description = (
        "Ends the work on this step. Call it with 'success' only when what was asked is done, "
        "with 'failure' when it cannot be done; say why in 'message'."
    )
    parameters = object_schema(
        ("status",),
        status={"type": "string", "enum": ["success", "failure"]},
        message={"type": "string", "description": "The answer, or what prevented it."},
        output={"description": "Structured result for later steps; any JSON value."},
    )
    annotations = ToolAnnotations(read_only=True, idempotent=True)
    on_unknown = "rerun"

    async def execute(
        self, status: Literal["success", "failure"], message: str = "", output: Any = None
    ) -> ToolResult:
        """A failure is a well-formed answer, so it is no error of the tool."""
        return ToolResult(output=message, data=output, terminated=status)
