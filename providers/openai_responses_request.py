"""A request as OpenAI's Responses API wants it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from core.completion import CompletionRequest, ToolChoice, ToolDefinition
from core.message import (
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from providers.openai_request import fits_strict, fixes_sampling
from providers.openai_responses_answer import read_reasoning_item

Wire = dict[str, Any]

FEWEST_OUTPUT_TOKENS = 16
"""A lower limit is refused."""


def render_request(
    request: CompletionRequest, *, model: str, provider: str, default_output_tokens: int | None
) -> Wire:
    """The JSON body. ``provider`` is whose reasoning may be sent back.

    Nothing is kept at the service, so that any of its processes, or another account, can go on:
    reasoning comes back to it encrypted, inside the conversation.
    """
    items = [item for message in request.messages for item in _items(message, provider)]
    body: Wire = {"model": model, "input": items, "store": False, **_tools(request)}
    if not _never_reasons(model):
        body["include"] = ["reasoning.encrypted_content"]
    if request.output_schema is not None:
        schema = request.output_schema
        named = {"name": "output", "schema": schema, "strict": fits_strict(schema)}
        body["text"] = {"format": {"type": "json_schema", **named}}
    limit = request.max_output_tokens or default_output_tokens
    if limit is not None:
        body["max_output_tokens"] = max(FEWEST_OUTPUT_TOKENS, limit)
    if request.temperature is not None and not fixes_sampling(model):
        body["temperature"] = request.temperature
    return body


def _never_reasons(model: str) -> bool:
    """Whether this is an older model of OpenAI, which refuses to be asked for its reasoning."""
    return bool(re.match(r"(openai/)?(gpt-[34]|chatgpt)", model))


def _tools(request: CompletionRequest) -> Wire:
    if not request.tools:
        return {}
    wire: Wire = {
        "tools": [_tool(tool) for tool in request.tools],
        "tool_choice": _tool_choice(request.tool_choice),
    }
    if not request.parallel_tool_calls:
        wire["parallel_tool_calls"] = False
    return wire


def _tool(tool: ToolDefinition) -> Wire:
    # Left out, strict would be true, and most schemas refused.
    return {"type": "function", "strict": False, **tool.model_dump()}


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "name": choice.name} if choice.mode == "named" else choice.mode


def _items(message: Message, provider: str) -> Iterator[Wire]:
    if message.role == "assistant":
        yield from _assistant_items(message, provider)
    elif message.role == "tool":
        results = (p for p in message.parts if isinstance(p, ToolResultPart))
        yield from (_result(result) for result in results)
    elif message.text or _images(message.parts):
        yield {"role": message.role, "content": _content(message.parts)}


def _assistant_items(message: Message, provider: str) -> Iterator[Wire]:
    """Items in their order, each reasoning with what it led to: alone it is refused."""
    reasoning: list[Wire] = []
    for part in message.parts:
        if isinstance(part, ThinkingPart):
            item = read_reasoning_item(part) if part.provider == provider else None
            reasoning += [item] if item else []
        elif item := _assistant_item(part):
            yield from reasoning
            reasoning = []
            yield item


def _assistant_item(part: Part) -> Wire | None:
    if isinstance(part, TextPart) and part.text:
        return {"role": "assistant", "content": part.text}
    if isinstance(part, ToolCallPart):
        arguments = json.dumps(part.arguments, ensure_ascii=False)
        call = {"call_id": part.id, "name": part.name, "arguments": arguments}
        return {"type": "function_call", **call}
    return None


def _result(result: ToolResultPart) -> Wire:
    text = {"type": "input_text", "text": result.text}
    images = [_image(image) for image in result.images]
    output = [*([text] if result.text else []), *images] if images else result.text
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}


def _content(parts: Iterable[Part]) -> list[Wire]:
    return [
        _image(p) if isinstance(p, ImagePart) else {"type": "input_text", "text": p.text}
        for p in parts
        if isinstance(p, (TextPart, ImagePart))
    ]


def _images(parts: Iterable[Part]) -> bool:
    return any(isinstance(part, ImagePart) for part in parts)


def _image(image: ImagePart) -> Wire:
    url = f"data:{image.media_type};base64,{image.data}"
    return {"type": "input_image", "image_url": url, "detail": "auto"}
