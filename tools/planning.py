"""How an agent sees the plan that its step is part of, and leaves a note on its step."""

from __future__ import annotations

from typing import Literal

from core.errors import EnvironmentUnusableError, InvalidArgumentsError
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema


class Planning(BaseTool):
    name = "planning"
    description = (
        "The plan that your step belongs to. 'get' shows its steps with their statuses and notes; "
        "'note' leaves a note on your own step, for whoever reads the report or revises the plan."
    )
    parameters = object_schema(
        ("command",),
        command={"type": "string", "enum": ["get", "note"]},
        text={"type": "string", "maxLength": 2000, "description": "The note."},
    )
    annotations = ToolAnnotations(idempotent=True)
    on_unknown = "rerun"

    async def execute(self, command: Literal["get", "note"], text: str = "") -> ToolResult:
        book = self.context.plan
        if book is None:
            raise EnvironmentUnusableError("there is no plan here")
        if command == "get":
            return self.success_response(book.read())
        if not text.strip():
            raise InvalidArgumentsError("'text': a note needs one")
        book.note(text.strip())
        return self.success_response("noted")
