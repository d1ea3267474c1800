"""A server's answer as a tool's result."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from core.base import JsonObject
from core.message import ImagePart
from tools.base import ToolResult

if TYPE_CHECKING:
    from mcp_types import CallToolResult

SHOWN_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
MAX_IMAGE_BYTES = 5_000_000
MAX_TEXT_CHARS = 1_000_000


def to_result(answer: CallToolResult, note: str = "") -> ToolResult:
    """Text as text, images as images, structured content as ``data``; the rest is named.

    ``note`` is something the model must know about this call; it comes first.
    """
    blocks = [block.model_dump(mode="json", by_alias=False) for block in answer.content]
    images = [image for image in map(_image, blocks) if image]
    texts = [text for text in map(_text, blocks) if text]
    if not texts and answer.structured_content is not None:
        texts = [json.dumps(answer.structured_content, indent=2, ensure_ascii=False)]
    text = _cut("\n".join(texts))
    if answer.is_error:
        return ToolResult(
            error=_joined(note, text or "the server says that it failed, and not why"),
            data=answer.structured_content,
            images=tuple(images),
        )
    return ToolResult(
        output=_joined(note, text), data=answer.structured_content, images=tuple(images)
    )


def _joined(note: str, text: str) -> str:
    return "\n".join(part for part in (note, text) if part)


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARS:
        return text
    return f"{text[:MAX_TEXT_CHARS]}\n[… {len(text) - MAX_TEXT_CHARS} characters left out …]"


def _image(block: JsonObject) -> ImagePart | None:
    """A picture that every provider takes; others are named by ``_text``."""
    if block["type"] != "image" or block["mime_type"] not in SHOWN_IMAGES:
        return None
    size = _size_bytes(block["data"])
    if size is None or size > MAX_IMAGE_BYTES:
        return None
    return ImagePart(media_type=block["mime_type"], data=block["data"])


def _text(block: JsonObject) -> str:
    match block["type"]:
        case "text":
            return block["text"]
        case "image":
            return "" if _image(block) else _named("image", block["mime_type"], block["data"])
        case "audio":
            return _named("audio", block["mime_type"], block["data"])
        case "resource":
            return _resource(block["resource"])
        case "resource_link":
            said = (block["uri"], block.get("name"), block.get("description"))
            return f"(a link: {', '.join(part for part in said if part)})"
        case other:
            return f"(content of type {other}, not shown)"


def _resource(resource: JsonObject) -> str:
    if "text" in resource:
        return f"{resource['uri']}:\n{resource['text']}"
    return _named(f"resource {resource['uri']}", resource.get("mime_type"), resource["blob"])


def _named(what: str, media_type: Any, data: str) -> str:
    size = _size_bytes(data)
    told = "damaged" if size is None else f"{size} bytes"
    return f"({what}, {media_type or 'of unknown type'}, {told}, not shown)"


def _size_bytes(data: str) -> int | None:
    """None where it is not base64: a provider would refuse the whole conversation for it."""
    try:
        return len(base64.b64decode(data, validate=True))
    except binascii.Error:
        return None
