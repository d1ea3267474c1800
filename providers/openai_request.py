"""A request as OpenAI chat completions wants it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from core.base import JsonObject
from core.completion import CompletionRequest, ToolChoice
from core.message import ImagePart, Message, TextPart, ThinkingPart, ToolCallPart, ToolResultPart
from providers.tokens import is_openai_model

Wire = dict[str, Any]


def render_request(
    request: CompletionRequest, *, model: str, provider: str, default_output_tokens: int | None
) -> Wire:
    """The JSON body. ``provider`` is whose thinking may be sent back."""
    body: Wire = {
        "model": model,
        "messages": [w for m in request.messages for w in _messages(m, provider)],
    }
    if request.tools:
        body["tools"] = [
            {"type": "function", "function": tool.model_dump()} for tool in request.tools
        ]
        body["tool_choice"] = _tool_choice(request.tool_choice)
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    if request.output_schema is not None:
        body["response_format"] = _response_format(request.output_schema)
    limit = request.max_output_tokens or default_output_tokens
    if limit is not None:
        # OpenAI's newer models reject the old name, compatible servers know only that one.
        body["max_completion_tokens" if is_openai_model(model) else "max_tokens"] = limit
    if request.temperature is not None and not _fixes_sampling(model):
        body["temperature"] = request.temperature
    return body


def _fixes_sampling(model: str) -> bool:
    """Whether this is a reasoning model of OpenAI, which refuses sampling parameters."""
    return bool(re.match(r"(openai/)?(o\d|gpt-([5-9]|\d\d))", model))


def _tool_choice(choice: ToolChoice) -> Any:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(schema: JsonObject) -> Wire:
    named = {"name": "output", "schema": schema, "strict": _fits_strict(schema)}
    return {"type": "json_schema", "json_schema": named}


def _fits_strict(schema: Any) -> bool:
    """Whether strict mode takes the schema: every object closed, all its properties required."""
    if isinstance(schema, list):
        return all(_fits_strict(item) for item in cast("list[Any]", schema))
    if not isinstance(schema, dict):
        return True
    node = cast("Wire", schema)
    if node.get("type") == "object":
        names: Wire = node.get("properties") or {}
        required: list[str] = node.get("required") or []
        if node.get("additionalProperties") is not False or set(names) != set(required):
            return False
    return all(_fits_strict(value) for value in node.values())


def _messages(message: Message, provider: str) -> Iterator[Wire]:
    if message.role == "tool":
        yield from _tool_messages(message)
    elif message.role == "assistant":
        yield _assistant_message(message, provider)
    elif message.role == "system":
        yield {"role": "system", "content": message.text}
    else:
        yield {"role": "user", "content": _user_content(message)}


def _user_content(message: Message) -> Any:
    if not any(isinstance(p, ImagePart) for p in message.parts):
        return message.text
    blocks = (
        _image(p) if isinstance(p, ImagePart) else {"type": "text", "text": p.text}
        for p in message.parts
        if isinstance(p, (TextPart, ImagePart))
    )
    return list(blocks)


def _assistant_message(message: Message, provider: str) -> Wire:
    wire: Wire = {"role": "assistant", "content": message.text or None}
    if not message.tool_calls:
        return wire | {"content": message.text}
    wire["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    own = (p for p in message.parts if isinstance(p, ThinkingPart) and p.provider == provider)
    if thinking := "".join(part.text for part in own):
        # Servers that show reasoning want it back within a tool loop; OpenAI's own never show it.
        wire["reasoning_content"] = thinking
    return wire


def _tool_call(call: ToolCallPart) -> Wire:
    function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    return {"id": call.id, "type": "function", "function": function}


def _tool_messages(message: Message) -> Iterator[Wire]:
    """One message per result; images follow in a user message, since a tool's may not hold any."""
    results = [p for p in message.parts if isinstance(p, ToolResultPart)]
    for result in results:
        yield {"role": "tool", "tool_call_id": result.call_id, "content": result.text}
    images = [block for result in results for block in _result_images(result)]
    if images:
        yield {"role": "user", "content": images}


def _result_images(result: ToolResultPart) -> Iterator[Wire]:
    if result.images:
        yield {"type": "text", "text": f"Images from {result.name} ({result.call_id}):"}
    yield from (_image(image) for image in result.images)


def _image(image: ImagePart) -> Wire:
    url = f"data:{image.media_type};base64,{image.data}"
    return {"type": "image_url", "image_url": {"url": url}}
