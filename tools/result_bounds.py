"""How much of a result goes on: into its record, and from there into a conversation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from core.message import ImagePart, TextPart
from tools.base import ToolResult

MAX_OUTPUT_CHARS = 2_000_000
MAX_ERROR_CHARS = 20_000
MAX_STATE_CHARS = 50_000
MAX_DATA_CHARS = 10_000_000
"""Of its JSON."""

MAX_IMAGES = 20
MAX_IMAGE_CHARS = 20_000_000
"""Of the base64 of all images together; providers take requests of about 30 MB."""


def bounded(name: str, result: ToolResult) -> ToolResult:
    """``result`` with what is too much left out, and that said; ``name`` is the tool's.

    Data are not cut, as half of them would pass for all: without them the result is an error.
    """
    images = _fitting(result.images)
    left_out = len(result.images) - len(images)
    output = _cut(result.output, MAX_OUTPUT_CHARS)
    if left_out:
        note = f"[{left_out} images left out: too many, or too large]"
        output = f"{output}\n{note}" if output else note
    changes: dict[str, Any] = {"output": output, "images": images, "state": _state(result)}
    if result.error is not None:
        changes["error"] = _cut(result.error, MAX_ERROR_CHARS)
    if _is_too_much(result.data):
        reason = f"{name}: its data exceed {MAX_DATA_CHARS} characters of JSON and are left out"
        changes |= {"data": None, "error": changes.get("error") or reason}
    return result.model_copy(update=changes)


def _state(result: ToolResult) -> tuple[TextPart | ImagePart, ...]:
    images = set(map(id, _fitting(p for p in result.state if isinstance(p, ImagePart))))
    return tuple(
        TextPart(text=_cut(part.text, MAX_STATE_CHARS)) if isinstance(part, TextPart) else part
        for part in result.state
        if isinstance(part, TextPart) or id(part) in images
    )


def _fitting(images: Iterable[ImagePart]) -> tuple[ImagePart, ...]:
    """The first of them; one that does not fit keeps no smaller one behind it out."""
    kept: list[ImagePart] = []
    room = MAX_IMAGE_CHARS
    for image in images:
        if len(kept) < MAX_IMAGES and len(image.data) <= room:
            kept.append(image)
            room -= len(image.data)
    return tuple(kept)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[… {len(text) - most} characters left out …]"


def _is_too_much(data: Any) -> bool:
    """What is no JSON is refused where the result is stored."""
    if data is None:
        return False
    size = 0
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(data):
            size += len(piece)
            if size > MAX_DATA_CHARS:
                return True
    except (TypeError, ValueError, RecursionError):
        return False
    return False
