"""A request as OpenAI chat completions wants it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from core.base import JsonObject
from core.completion import CompletionRequest, ToolChoice
from core.message import ImagePart, Message, TextPart, ThinkingPart, ToolCallPart, ToolResultPart
from providers.openai_signature import TurnSignature, read_signature
from providers.profiles import Profile
from providers.token_encodings import is_openai_model

Wire = dict[str, Any]


def render_request(
    request: CompletionRequest,
    *,
    model: str,
    provider: str,
    profile: Profile,
    default_output_tokens: int | None,
) -> Wire:
    """The JSON body. ``provider`` is whose thinking may be sent back."""
    messages = [w for m in request.messages for w in _messages(m, provider, profile)]
    body: Wire = {"model": model, "messages": messages, **_tools(request, profile)}
    if request.output_schema is not None:
        if not profile.json_schema:
            messages.append(_schema_in_words(request.output_schema))
        body["response_format"] = _response_format(request.output_schema, profile)
    limit = request.max_output_tokens or default_output_tokens
    if limit is not None:
        body[_limit_name(model, profile)] = limit
    if request.temperature is not None and not fixes_sampling(model):
        body["temperature"] = request.temperature
    return body


def fixes_sampling(model: str) -> bool:
    """Whether this is a reasoning model of OpenAI, which refuses sampling parameters."""
    return bool(re.match(r"(openai/)?(o\d|gpt-([5-9]|\d\d))", model))


def _limit_name(model: str, profile: Profile) -> str:
    if profile.max_tokens != "by_model":
        return profile.max_tokens
    return "max_completion_tokens" if is_openai_model(model) else "max_tokens"


def _tools(request: CompletionRequest, profile: Profile) -> Wire:
    choice = request.tool_choice
    offered = request.tools
    if not profile.forced_tools and choice.mode == "named":
        # What cannot be demanded can at least be all there is.
        offered = tuple(tool for tool in offered if tool.name == choice.name)
    if not offered:
        return {}
    functions = (t.model_dump() for t in offered)
    tools = [f | {"parameters": profile.fit_schema(f["parameters"])} for f in functions]
    wire: Wire = {"tools": [{"type": "function", "function": tool} for tool in tools]}
    wire["tool_choice"] = _tool_choice(choice, profile)
    if not request.parallel_tool_calls and profile.parallel_tool_calls:
        wire["parallel_tool_calls"] = False
    return wire


def _tool_choice(choice: ToolChoice, profile: Profile) -> Any:
    if choice.mode in ("required", "named") and not profile.forced_tools:
        return "auto"
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(schema: JsonObject, profile: Profile) -> Wire:
    if not profile.json_schema:
        return {"type": "json_object"}
    fitting = profile.fit_schema(schema)
    named = {"name": "output", "schema": fitting, "strict": fits_strict(fitting)}
    return {"type": "json_schema", "json_schema": named}


def _schema_in_words(schema: JsonObject) -> Wire:
    shown = json.dumps(schema, ensure_ascii=False)
    text = f"Answer with one JSON object that fits this JSON schema, and nothing else:\n{shown}"
    return {"role": "system", "content": text}


def fits_strict(schema: Any) -> bool:
    """Whether strict mode takes the schema: every object closed, all its properties required."""
    if isinstance(schema, list):
        return all(fits_strict(item) for item in cast("list[Any]", schema))
    if not isinstance(schema, dict):
        return True
    node = cast("Wire", schema)
    if node.get("type") == "object":
        names: Wire = node.get("properties") or {}
        required: list[str] = node.get("required") or []
        if node.get("additionalProperties") is not False or set(names) != set(required):
            return False
    return all(fits_strict(value) for value in node.values())


def _messages(message: Message, provider: str, profile: Profile) -> Iterator[Wire]:
    if message.role == "tool":
        yield from _tool_messages(message)
    elif message.role == "assistant":
        yield _assistant_message(message, provider, profile)
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


def _assistant_message(message: Message, provider: str, profile: Profile) -> Wire:
    wire: Wire = {"role": "assistant", "content": message.text or None}
    if not message.tool_calls:
        return wire | {"content": message.text}
    thoughts = [p for p in message.parts if isinstance(p, ThinkingPart)]
    own = [part for part in thoughts if part.provider == provider]
    signature = read_signature(own) if profile.signed else TurnSignature()
    wire["tool_calls"] = [_tool_call(c, signature.extra_content) for c in message.tool_calls]
    thinking = "".join(part.text for part in own)
    always = profile.thinking_back == "always_with_calls"
    if signature.reasoning_details:
        wire["reasoning_details"] = list(signature.reasoning_details)
    elif always or (thinking and profile.thinking_back == "with_calls"):
        # Servers that show reasoning want it back within a tool loop; OpenAI's own never show it.
        wire[profile.thinking] = thinking
    return wire


def _tool_call(call: ToolCallPart, extras: Mapping[str, JsonObject]) -> Wire:
    function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    wire: Wire = {"id": call.id, "type": "function", "function": function}
    return wire | {"extra_content": extras[call.id]} if call.id in extras else wire


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
