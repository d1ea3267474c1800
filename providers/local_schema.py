"""Schemas for a small model whose every answer is forced into one.

A model of this size neither stops by itself within an open string nor knows how to call a tool. So
whatever it may write is bounded, and a tool call is a shape it is made to fill in.
"""

from __future__ import annotations

import json
from typing import Any, cast

from core.base import JsonObject
from core.completion import CompletionRequest, ToolDefinition
from core.errors import MalformedAnswerError, ProviderRejectedError
from core.message import Part, TextPart
from providers.tool_calls import read_tool_call

MAX_STRING_CHARS = 240
MAX_ARRAY_ITEMS = 5
MAX_DEPTH = 12

_KEPT = ("const", "enum", "title", "description", "minimum", "maximum", "pattern", "format")


def answer_schema(request: CompletionRequest) -> JsonObject | None:
    """The shape of the whole answer, ``None`` for free text.

    With tools it is one object: ``{"answer": …}`` or ``{"tool": name, "arguments": …}``.
    """
    output = bounded(request.output_schema) if request.output_schema is not None else None
    if not offered_tools(request):
        return output
    shapes = [_call_shape(tool) for tool in offered_tools(request)]
    if request.tool_choice.mode == "auto":
        text: JsonObject = {"type": "string", "maxLength": MAX_STRING_CHARS}
        shapes.insert(0, _closed({"answer": output or text}))
    return {"anyOf": shapes} if len(shapes) > 1 else shapes[0]


def offered_tools(request: CompletionRequest) -> tuple[ToolDefinition, ...]:
    """The tools that this request lets the model call."""
    choice = request.tool_choice
    if choice.mode == "none":
        return ()
    if choice.mode == "named":
        return tuple(t for t in request.tools if t.name == choice.name)
    return request.tools


def read_answer(request: CompletionRequest, text: str) -> tuple[Part, ...]:
    """The parts of an answer that was written in ``answer_schema``.

    Raises:
        MalformedAnswerError: the text is not the JSON it was to be: it was cut by the limit.
    """
    if answer_schema(request) is None:
        return (TextPart(text=text.strip()),) if text.strip() else ()
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise MalformedAnswerError("local: the answer was cut in the middle of its JSON") from error
    if not offered_tools(request):
        return (TextPart(text=text.strip()),)
    if "tool" in value:
        return (read_tool_call(None, value["tool"], value["arguments"]),)
    said = value["answer"]
    return (TextPart(text=said if isinstance(said, str) else json.dumps(said)),)


def bounded(schema: JsonObject) -> JsonObject:
    """A schema at least as narrow, in which nothing can go on for ever, without ``$ref``.

    Raises:
        ProviderRejectedError: the schema refers to itself, or to what is not there.
    """
    return _bounded(schema, schema, 0)


def _bounded(schema: Any, root: JsonObject, depth: int) -> JsonObject:
    if depth > MAX_DEPTH:
        raise ProviderRejectedError("local: the schema is recursive or too deep")
    if not isinstance(schema, dict):
        return {"type": "string", "maxLength": MAX_STRING_CHARS}
    node = cast("JsonObject", schema)
    if "$ref" in node:
        return _bounded(_resolve(str(node["$ref"]), root), root, depth + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in node:
            variants: list[Any] = node[word]
            return {word: [_bounded(v, root, depth + 1) for v in variants]}
    if isinstance(node.get("type"), list):
        kinds: list[str] = node["type"]
        return {"anyOf": [_bounded(node | {"type": kind}, root, depth + 1) for kind in kinds]}
    kept = {word: node[word] for word in _KEPT if word in node}
    return kept | _bounded_kind(node, root, depth)


def _bounded_kind(node: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    kind = node.get("type") or ("object" if "properties" in node else None)
    if kind == "object":
        return _bounded_object(node, root, depth)
    if kind == "array":
        least = int(node.get("minItems", 0))
        most = max(least, min(int(node.get("maxItems", MAX_ARRAY_ITEMS)), MAX_ARRAY_ITEMS))
        items = _bounded(node.get("items"), root, depth + 1)
        return {"type": "array", "items": items, "minItems": least, "maxItems": most}
    if kind in ("integer", "number", "boolean", "null"):
        return {"type": kind}
    if "enum" in node or "const" in node:
        return {}
    least = int(node.get("minLength", 0))
    most = max(least, min(int(node.get("maxLength", MAX_STRING_CHARS)), MAX_STRING_CHARS))
    return {"type": "string", "minLength": least, "maxLength": most}


def _bounded_object(node: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    """Closed: a property that nobody declared is never needed and might never end."""
    properties: JsonObject = node.get("properties") or {}
    required: list[str] = node.get("required") or []
    declared = {name: _bounded(s, root, depth + 1) for name, s in properties.items()}
    declared |= {name: _bounded({}, root, depth + 1) for name in required if name not in declared}
    return _closed(declared, required)


def _closed(properties: JsonObject, required: list[str] | None = None) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _call_shape(tool: ToolDefinition) -> JsonObject:
    return _closed({"tool": {"const": tool.name}, "arguments": bounded(tool.parameters)})


def _resolve(reference: str, root: JsonObject) -> Any:
    node: Any = root
    for name in reference.removeprefix("#/").split("/"):
        if not isinstance(node, dict) or name not in node:
            raise ProviderRejectedError(f"local: the schema has no '{reference}'")
        node = cast("JsonObject", node)[name]
    return node
