"""A request as Gemini's own API wants it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from core.base import JsonObject
from core.completion import CompletionRequest
from core.message import ImagePart, Message, TextPart, ThinkingPart, ToolCallPart, ToolResultPart
from providers.google_answer import TurnSignatures

Wire = dict[str, Any]

_FOREIGN = "skip_thought_signature_validator"
"""What the service takes for the signature of a turn that another model wrote."""


def render_request(
    request: CompletionRequest, *, model: str, provider: str, default_output_tokens: int | None
) -> Wire:
    """The JSON body. ``provider`` is whose signatures may be sent back.

    The service has no parameter to keep a model from calling tools in parallel.
    """
    body: Wire = {"contents": _contents(request.messages, provider, signed=_signs(model))}
    in_words = request.output_schema is not None and bool(request.tools) and not _signs(model)
    texts = [m.text for m in request.messages if m.role == "system" and m.text.strip()]
    if in_words:
        texts.append(_in_words(request.output_schema or {}))
    if texts:
        body["systemInstruction"] = {"parts": [{"text": text} for text in texts]}
    body |= _tools(request)
    config = _generation(request, model, default_output_tokens)
    if request.output_schema is not None and not in_words:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = request.output_schema
    return body | ({"generationConfig": config} if config else {})


def thinks(model: str) -> bool:
    """Whether a model can show its thoughts; older ones and those for media refuse to."""
    name = model.rpartition("/")[2]
    text_only = not re.search(r"image|tts|audio|live|embedding|computer-use", name)
    return text_only and bool(re.match(r"gemini-(2\.5|[3-9]|\d\d)", name))


def _signs(model: str) -> bool:
    """Whether calls must come back signed, and may be combined with an output schema: Gemini 3."""
    return bool(re.match(r"gemini-([3-9]|\d\d)", model.rpartition("/")[2]))


def _generation(
    request: CompletionRequest, model: str, default_output_tokens: int | None
) -> JsonObject:
    config: JsonObject = {}
    if limit := request.max_output_tokens or default_output_tokens:
        config["maxOutputTokens"] = limit
    if request.temperature is not None:
        config["temperature"] = request.temperature
    if thinks(model):
        config["thinkingConfig"] = {"includeThoughts": True}
    return config


def _tools(request: CompletionRequest) -> Wire:
    if not request.tools:
        return {}
    declared = [
        {"name": t.name, "description": t.description, "parametersJsonSchema": t.parameters}
        for t in request.tools
    ]
    choice = request.tool_choice
    modes = {"auto": "AUTO", "required": "ANY", "none": "NONE", "named": "ANY"}
    calling: Wire = {"mode": modes[choice.mode]}
    if choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    return {
        "tools": [{"functionDeclarations": declared}],
        "toolConfig": {"functionCallingConfig": calling},
    }


def _contents(messages: Iterable[Message], provider: str, *, signed: bool) -> list[Wire]:
    """Turns of alternating roles; the answers to a turn's calls come before anything else."""
    turns: list[Wire] = []
    for message in messages:
        if message.role == "system":
            continue
        own = message.role == "assistant"
        parts = list(_own_turn(message, provider, signed=signed) if own else _their_turn(message))
        role = "model" if own else "user"
        if parts and turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    for turn in turns:
        if turn["role"] == "user":
            turn["parts"].sort(key=_is_not_answer)
    # A call must follow a turn of the user, and a system prompt is none.
    begun = bool(turns) and turns[0]["role"] == "user"
    return turns if begun else [{"role": "user", "parts": [{"text": ""}]}, *turns]


def _is_not_answer(part: Wire) -> bool:
    return "functionResponse" not in part


def _own_turn(message: Message, provider: str, *, signed: bool) -> Iterator[Wire]:
    """What a model said, with the signatures where they were; its thoughts are not sent back."""
    signatures = _read_signatures(message, provider)
    texts = [p for p in message.parts if isinstance(p, TextPart) and p.text.strip()]
    for part in texts:
        yield {"text": part.text} | _signature(signatures.text if part is texts[-1] else None)
    if not texts and signatures.text:
        yield {"text": "", "thoughtSignature": signatures.text}
    for number, call in enumerate(message.tool_calls):
        known = signatures.calls.get(call.id)
        if known is None and signed and not number:
            known = _FOREIGN
        yield _call(call) | _signature(known)


def _their_turn(message: Message) -> Iterator[Wire]:
    for part in message.parts:
        if isinstance(part, TextPart) and part.text.strip():
            yield {"text": part.text}
        elif isinstance(part, ImagePart):
            yield _image(part)
        elif isinstance(part, ToolResultPart):
            said = {"error" if part.is_error else "result": part.text}
            yield {"functionResponse": {"id": part.call_id, "name": part.name, "response": said}}
            yield from (_image(image) for image in part.images)


def _read_signatures(message: Message, provider: str) -> TurnSignatures:
    """Empty where a signature is of another protocol, from before the kind was changed."""
    for part in message.parts:
        if isinstance(part, ThinkingPart) and part.provider == provider and part.signature:
            try:
                return TurnSignatures.model_validate_json(part.signature)
            except ValueError:
                continue
    return TurnSignatures()


def _signature(signature: str | None) -> Wire:
    return {"thoughtSignature": signature} if signature else {}


def _call(call: ToolCallPart) -> Wire:
    return {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}}


def _image(image: ImagePart) -> Wire:
    return {"inlineData": {"mimeType": image.media_type, "data": image.data}}


def _in_words(schema: JsonObject) -> str:
    """Before Gemini 3, a format of the answer and tools exclude each other."""
    return f"Your final answer is one JSON object that fits this schema:\n{json.dumps(schema)}"
