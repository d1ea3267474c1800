"""A structured answer: its schema comes from a Python type, a pydantic model or a JSON schema.

::

    CreateChatCompletion(list[str])            # {"response": ["a", "b"]}
    CreateChatCompletion(Report)               # the fields of the model
    CreateChatCompletion({"type": "object", …})

An agent that is given this tool ends its work by calling it; the validated value is the result.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.base import JsonObject, is_object
from core.errors import ConfigError, InvalidArgumentsError
from core.settings import first_problem
from tools.base import BaseTool, ToolAnnotations, ToolResult

RESPONSE = "response"


class CreateChatCompletion(BaseTool):
    """Ends an agent's work with a value of one type.

    Args:
        response_type: any type pydantic can validate (``str``, ``int | None``, ``list[Item]``, a
            model), or a JSON schema as a dict. What is no object is asked for as ``response``.
    """

    name = "create_chat_completion"
    description = (
        "Gives the final answer in the form its parameters describe, and so ends the work. Call "
        "it once, when the answer is complete."
    )
    annotations = ToolAnnotations(read_only=True, idempotent=True)
    on_unknown = "rerun"

    def __init__(self, response_type: Any = str) -> None:
        self._type = response_type
        schema = _schema(response_type)
        self._wrapped = not _is_fixed_object(schema)
        self.parameters = _enclosed(schema) if self._wrapped else _closed(schema)

    async def execute(self, **answer: Any) -> ToolResult:
        """``data`` is the answer as JSON; ``terminated`` is ``success``."""
        value = answer.get(RESPONSE) if self._wrapped else answer
        if not is_object(self._type):
            value = self._validated(value)
        result = self.success_response(value) if isinstance(value, str) else _as_json(value)
        return result.model_copy(update={"data": value, "terminated": "success"})

    def _validated(self, value: Any) -> Any:
        """As the type takes it: with its defaults filled in and its own validators passed."""
        adapter = _adapter(self._type)
        try:
            return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True)
        except ValidationError as error:
            raise InvalidArgumentsError(f"{self.name}: {first_problem(error)}") from error


def _as_json(value: Any) -> ToolResult:
    return ToolResult(output=json.dumps(value, indent=2, ensure_ascii=False))


@functools.cache
def _adapter(response_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(response_type)


def _schema(response_type: Any) -> JsonObject:
    """Raises ConfigError for what has no JSON schema."""
    if is_object(response_type):
        return _checked(response_type)
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        return _adapter(response_type).json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ConfigError(f"response type {response_type!r}: has no JSON schema") from error


def _checked(schema: JsonObject) -> JsonObject:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"response schema: {error.message}") from error
    return schema


def _is_fixed_object(schema: JsonObject) -> bool:
    """Whether the schema can be a tool's own parameters."""
    return schema.get("type") == "object" and "properties" in schema


def _closed(schema: JsonObject) -> JsonObject:
    """Unknown fields are errors where the schema does not say otherwise."""
    return {"required": [], "additionalProperties": False, **schema}


def _enclosed(schema: JsonObject) -> JsonObject:
    """The schema as ``response``; what it refers to moves up with it, to the root."""
    definitions = {key: value for key, value in schema.items() if key in ("$defs", "definitions")}
    inner = {key: value for key, value in schema.items() if key not in (*definitions, "$schema")}
    return {
        "type": "object",
        "properties": {RESPONSE: {"description": "The answer.", **inner}},
        "required": [RESPONSE],
        "additionalProperties": False,
        **definitions,
    }
