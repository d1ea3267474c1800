"""Asking the person whom the work is for."""

from __future__ import annotations

from core.errors import EnvironmentUnusableError, ToolFailedError
from core.ports import Question
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema


class AskHuman(BaseTool):
    name = "ask_human"
    description = (
        "Asks a person a question and waits for the answer. Use it only for what you can neither "
        "find out nor decide: the answer may take hours."
    )
    parameters = object_schema(
        ("inquire",),
        inquire={"type": "string", "minLength": 1, "description": "The question."},
        choices={
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "uniqueItems": True,
            "description": "The answers to choose from; without them any text is one.",
        },
        default={"type": "string", "description": "What to take when nobody answers in time."},
    )
    annotations = ToolAnnotations(read_only=True)
    on_unknown = "rerun"

    async def execute(
        self, inquire: str, choices: list[str] | None = None, default: str | None = None
    ) -> ToolResult:
        if self.context.human is None:
            raise EnvironmentUnusableError("nobody can be asked here")
        question = Question(text=inquire, choices=tuple(choices or ()), default=default)
        try:
            return self.success_response(await self.context.human.ask(question))
        except TimeoutError as error:
            raise ToolFailedError(f"{error}; decide yourself, or end with failure") from error
