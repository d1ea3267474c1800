"""A request as Anthropic's messages API wants it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from anthropic import transform_schema

from core.completion import CompletionRequest
from core.message import (
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

Wire = dict[str, Any]


def render_request(
    request: CompletionRequest, *, model: str, provider: str, default_output_tokens: int
) -> Wire:
    """The JSON body. ``provider`` is whose thinking may be sent back.

    There is no temperature: the API version that the SDK speaks refuses sampling parameters.
    An output schema becomes ``output_config.format``, not a forced tool: it leaves tools and
    thinking usable in the same request, which a forced choice does not.
    """
    body: Wire = {
        "model": model,
        "max_tokens": request.max_output_tokens or default_output_tokens,
        "messages": _conversation(request.messages, provider),
    }
    if system := _system(request.messages):
        body["system"] = system
    body |= _tools(request)
    if request.output_schema is not None:
        schema = transform_schema(request.output_schema)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return body


def _system(messages: Iterable[Message]) -> list[Wire]:
    texts = (m.text for m in messages if m.role == "system")
    return [{"type": "text", "text": text} for text in texts if text.strip()]


def _tools(request: CompletionRequest) -> Wire:
    if not request.tools:
        return _tools_of_history(request.messages)
    tools = [
        {"name": t.name, "description": t.description, "input_schema": t.parameters}
        for t in request.tools
    ]
    # Tools mean a loop whose next request begins like this one: let it be read from the cache.
    caching = {"type": "ephemeral"}
    return {"tools": tools, "tool_choice": _tool_choice(request), "cache_control": caching}


def _tools_of_history(messages: Iterable[Message]) -> Wire:
    """Bare definitions of tools called before: past calls may not refer to undefined tools."""
    names = sorted({_safe(c.name) for m in messages for c in m.tool_calls})
    if not names:
        return {}
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    return {"tools": tools, "tool_choice": {"type": "none"}}


def _tool_choice(request: CompletionRequest) -> Wire:
    choice = request.tool_choice
    if choice.mode == "none":
        return {"type": "none"}
    wire: Wire = {"type": {"auto": "auto", "required": "any", "named": "tool"}[choice.mode]}
    if choice.mode == "named":
        wire["name"] = choice.name
    if not request.parallel_tool_calls:
        wire["disable_parallel_tool_use"] = True
    return wire


def _conversation(messages: Iterable[Message], provider: str) -> list[Wire]:
    """Turns of alternating roles: tool results and what the user says next are one user turn."""
    turns: list[Wire] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [b for part in message.parts for b in _blocks(part, provider)]
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        # The answers to a turn's calls come before anything else; the sort keeps other order.
        turn["content"].sort(key=_is_not_result)
    return turns


def _is_not_result(block: Wire) -> bool:
    return block["type"] != "tool_result"


def _blocks(part: Part, provider: str) -> Iterator[Wire]:
    if isinstance(part, TextPart):
        # Blank text blocks are refused.
        if part.text.strip():
            yield {"type": "text", "text": part.text}
    elif isinstance(part, ImagePart):
        yield _image(part)
    elif isinstance(part, ThinkingPart):
        if part.provider == provider:
            yield from _thinking(part)
    elif isinstance(part, ToolCallPart):
        call = {"id": _safe(part.id), "name": _safe(part.name), "input": part.arguments}
        yield {"type": "tool_use", **call}
    else:
        yield _tool_result(part)


def _thinking(part: ThinkingPart) -> Iterator[Wire]:
    if part.redacted is not None:
        yield {"type": "redacted_thinking", "data": part.redacted}
    elif part.signature is not None:
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _tool_result(part: ToolResultPart) -> Wire:
    content: list[Wire] = [{"type": "text", "text": part.text}] if part.text.strip() else []
    content += [_image(image) for image in part.images]
    wire: Wire = {"type": "tool_result", "tool_use_id": _safe(part.call_id)}
    if content:
        wire["content"] = content
    if part.is_error:
        wire["is_error"] = True
    return wire


def _safe(identifier: str) -> str:
    """An id or name in the characters allowed here; other providers' may hold more."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", identifier)


def _image(image: ImagePart) -> Wire:
    source = {"type": "base64", "media_type": image.media_type, "data": image.data}
    return {"type": "image", "source": source}
