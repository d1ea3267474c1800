"""A request as Bedrock's Converse operations want it.

Converse is one protocol for many vendors' models, which differ in what they take. They are told
apart by the vendor in their names; a model behind an ARN, whose name says nothing, gets what
every model takes and no more, but for forced tool choices.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

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

OUTPUT_TOOL = "give_output"
"""The tool that an output schema becomes where the model has no structured output."""

_CACHE_POINT: Wire = {"cachePoint": {"type": "default"}}
_UNSUPPORTED_KEYWORDS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "pattern",
        "default",
    }
)


def render_request(
    request: CompletionRequest, *, model: str, provider: str, default_output_tokens: int | None
) -> Wire:
    """The arguments of ``converse``. ``provider`` is whose thinking may be sent back.

    Converse has no switch against parallel tool calls, so that wish is not carried.
    """
    turns = _conversation(request.messages, model, provider)
    body: Wire = {"modelId": model, "messages": turns}
    if system := _system(request.messages):
        body["system"] = system
    if limits := _inference(request, model, default_output_tokens):
        body["inferenceConfig"] = limits
    if tools := _tools(request, model):
        body["toolConfig"] = tools
    if request.tools and turns and _caches(model):
        # Tools mean a loop whose next request begins like this one; another run's shares the
        # tools and the system prompt.
        if system:
            system.append(_CACHE_POINT)
        turns[-1]["content"].append(_CACHE_POINT)
    if request.output_schema is not None and not uses_output_tool(request, model):
        body["outputConfig"] = {"textFormat": _text_format(request.output_schema)}
    return body


def render_count(body: Wire) -> Wire:
    """The arguments of ``count_tokens`` for those of ``converse``.

    It knows models, not the inference profiles that stand for them in several regions.
    """
    counted = {k: body[k] for k in ("messages", "system", "toolConfig") if k in body}
    model = re.sub(r"^([a-z]{2}(-gov)?|apac|global)\.", "", body["modelId"])
    return {"modelId": model, "input": {"converse": counted}}


def uses_output_tool(request: CompletionRequest, model: str) -> bool:
    """Whether the output schema goes out as a tool that must be called.

    ``outputConfig.textFormat`` leaves tools and thinking usable beside it, which a forced choice
    does not, but a model that does not know it refuses the whole request. Claude has it since 4.5;
    of the others, tools are what most have.
    """
    native = re.search(r"anthropic\.claude-[a-z]+-(4-[5-9]\b|[5-9]|\d\d)", model)
    return request.output_schema is not None and native is None


def is_claude(model: str) -> bool:
    """Whether it is one of Anthropic's models, under any region's profile."""
    return "anthropic.claude" in model


def _caches(model: str) -> bool:
    """Whether it surely takes cache points: Claude since 4 (whose names have the family first)."""
    return bool(re.search(r"anthropic\.claude-[a-z]+-\d", model))


def _takes_choice(model: str) -> bool:
    """Whether a tool may be forced; elsewhere asking for it gets the request refused."""
    return model.startswith("arn:") or is_claude(model) or "amazon.nova" in model


def _inference(request: CompletionRequest, model: str, default: int | None) -> Wire:
    limits: Wire = {}
    if limit := request.max_output_tokens or default:
        limits["maxTokens"] = limit
    # Newer versions of Claude refuse sampling parameters.
    if request.temperature is not None and not is_claude(model):
        limits["temperature"] = min(request.temperature, 1.0)
    return limits


def _system(messages: Iterable[Message]) -> list[Wire]:
    return [{"text": m.text} for m in messages if m.role == "system" and m.text.strip()]


def _tools(request: CompletionRequest, model: str) -> Wire:
    offered = request.tools if request.tool_choice.mode != "none" else ()
    specs = [_tool(t.name, t.description, t.parameters) for t in offered]
    output = uses_output_tool(request, model)
    if output:
        description = "Gives the final answer. Call it exactly once, instead of writing text."
        specs.append(_tool(OUTPUT_TOOL, description, request.output_schema))
    if not specs:
        # There is no choice "none"; but past calls may not refer to undefined tools.
        names = sorted({_safe_name(c.name) for m in request.messages for c in m.tool_calls})
        specs = [_tool(name, "", {"type": "object"}) for name in names]
    if not specs:
        return {}
    choice = _choice(request, output=output, offered=bool(offered))
    return {"tools": specs} | (choice if _takes_choice(model) else {})


def _tool(name: str, description: str, schema: Any) -> Wire:
    spec: Wire = {"name": name, "inputSchema": {"json": schema}}
    if description.strip():
        spec["description"] = description
    return {"toolSpec": spec}


def _choice(request: CompletionRequest, *, output: bool, offered: bool) -> Wire:
    """Nothing where the model may choose, which is the default."""
    mode = request.tool_choice.mode
    if mode == "named" and offered:
        return {"toolChoice": {"tool": {"name": request.tool_choice.name}}}
    if output and not offered:
        return {"toolChoice": {"tool": {"name": OUTPUT_TOOL}}}
    return {"toolChoice": {"any": {}}} if output or mode == "required" else {}


def _text_format(schema: Any) -> Wire:
    text = json.dumps(_accepted(schema), ensure_ascii=False)
    structure = {"jsonSchema": {"name": "output", "schema": text}}
    return {"type": "json_schema", "structure": structure}


def _accepted(schema: Any) -> Any:
    """The schema with its objects closed, and without the bounds that the service refuses."""
    if isinstance(schema, list):
        return [_accepted(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast("Wire", schema)
    kept: Wire = {}
    for key, value in node.items():
        if key in ("properties", "$defs", "definitions"):
            # Names of the user's own, which may look like keywords.
            kept[key] = {name: _accepted(inner) for name, inner in value.items()}
        elif key in ("enum", "const"):
            kept[key] = value
        elif key not in _UNSUPPORTED_KEYWORDS:
            kept[key] = _accepted(value)
    return kept | ({"additionalProperties": False} if node.get("type") == "object" else {})


def _conversation(messages: Iterable[Message], model: str, provider: str) -> list[Wire]:
    """Turns of alternating roles: tool results and what the user says next are one user turn."""
    turns: list[Wire] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [b for part in message.parts for b in _blocks(part, model, provider)]
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
    return "toolResult" not in block


def _blocks(part: Part, model: str, provider: str) -> Iterator[Wire]:
    if isinstance(part, TextPart):
        # Blank text blocks are refused.
        if part.text.strip():
            yield {"text": part.text}
    elif isinstance(part, ImagePart):
        yield _image(part)
    elif isinstance(part, ThinkingPart):
        if part.provider == provider:
            yield from _thinking(part)
    elif isinstance(part, ToolCallPart):
        name, call_id = _safe_name(part.name), _safe_id(part.id)
        yield {"toolUse": {"toolUseId": call_id, "name": name, "input": part.arguments}}
    else:
        yield _tool_result(part, model)


def _thinking(part: ThinkingPart) -> Iterator[Wire]:
    """Nothing of thinking without a signature: the models that make it do not want it back."""
    if part.redacted is not None:
        yield {"reasoningContent": {"redactedContent": base64.b64decode(part.redacted)}}
    elif part.signature:
        signed = {"text": part.text, "signature": part.signature}
        yield {"reasoningContent": {"reasoningText": signed}}


def _tool_result(part: ToolResultPart, model: str) -> Wire:
    text = part.text if part.text.strip() or part.images else "(no output)"
    content: list[Wire] = []
    if text.strip():
        # Mistral's models read results as JSON only.
        content.append({"json": {"result": text}} if "mistral." in model else {"text": text})
    content += [_image(image) for image in part.images]
    wire: Wire = {"toolUseId": _safe_id(part.call_id), "content": content}
    if part.is_error and _takes_choice(model):
        # The same models that may be forced know a status.
        wire["status"] = "error"
    return {"toolResult": wire}


def _safe_id(identifier: str) -> str:
    """An id as the service allows it: another provider's is replaced by one made from it."""
    if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", identifier):
        return identifier
    return f"call_{hashlib.sha256(identifier.encode()).hexdigest()[:32]}"


def _safe_name(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


def _image(image: ImagePart) -> Wire:
    kind = image.media_type.removeprefix("image/")
    return {"image": {"format": kind, "source": {"bytes": base64.b64decode(image.data)}}}
