"""When two requests are the same question, asked of the same models.

The key covers everything of the request that can change the answer: messages, tools, tool choice,
schema, sampling, output limit and images by content. A field that is added to ``CompletionRequest``
is in it by itself. Beside the request it covers the route's name and, in their order, the
deployments that the route itself has, each with the kind and the address of its provider: a route
that was changed does not serve another model's answers. What a fallback route answers is never
kept, so fallbacks are not in it.

Left out is what differs between two runs of the same conversation: ids of tool calls (numbered
instead), signatures and redacted blocks of thinking, the digits in the marks around what strangers
wrote (``core.untrusted``), how long to wait, and the cache's own options.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping

from core.base import JsonObject
from core.completion import CompletionRequest
from core.fingerprint import fingerprint
from core.message import (
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from core.provider_settings import ProviderSettings
from providers.route import Route

SCHEMA_VERSION = 1
"""Of keys and entries. A change of what they mean takes another, and the old ones are not found."""

_MARK = re.compile(r"\boutside-[0-9a-f]{12}\b")
_OTHER_FIELDS = {"messages", "timeout_seconds"}
_IDENTITY = {"kind", "base_url", "region", "api_version", "max_output_tokens", "temperature"}


def provider_identity(settings: ProviderSettings) -> JsonObject:
    """What of a provider's resolved settings decides its answers; no secret is among it."""
    return settings.model_dump(mode="json", include=_IDENTITY)


def request_key(
    namespace: str, route: Route, providers: Mapping[str, JsonObject], request: CompletionRequest
) -> str:
    """64 hex digits. ``providers`` are the identities of the route's providers by name."""
    asked = request.model_dump(mode="json", exclude=_OTHER_FIELDS)
    answering = [(d.name, providers.get(d.provider)) for d in route.deployments]
    messages = _normalised(request.messages)
    return fingerprint(SCHEMA_VERSION, namespace, route.name, answering, asked, messages)


def _normalised(messages: tuple[Message, ...]) -> list[JsonObject]:
    calls: dict[str, str] = {}
    return [
        {"role": m.role, "parts": [p for part in m.parts if (p := _part(part, calls))]}
        for m in messages
    ]


def _part(part: Part, calls: dict[str, str]) -> JsonObject | None:
    match part:
        case ThinkingPart():
            return {"type": part.type, "text": part.text} if part.text else None
        case ToolCallPart():
            return {**part.model_dump(mode="json"), "id": _number(part.id, calls)}
        case ToolResultPart():
            images = [_image(image) for image in part.images]
            number = _number(part.call_id, calls)
            changes = {"images": images, "call_id": number, "text": _unmarked(part.text)}
            return part.model_dump(mode="json") | changes
        case ImagePart():
            return _image(part)
        case TextPart():
            return {"type": part.type, "text": _unmarked(part.text)}


def _unmarked(text: str) -> str:
    return _MARK.sub("outside-", text)


def _number(call_id: str, calls: dict[str, str]) -> str:
    return calls.setdefault(call_id, f"call-{len(calls)}")


def _image(image: ImagePart) -> JsonObject:
    """By its bytes: base64 may be broken into lines or not. What is no base64 stays as it is."""
    try:
        content = base64.b64decode(image.data)
    except binascii.Error:
        content = image.data.encode()
    digest = hashlib.sha256(content).hexdigest()
    return {"type": image.type, "media_type": image.media_type, "sha256": digest}
