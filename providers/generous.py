"""The tokens of a request on the safe side, without counting them."""

from __future__ import annotations

import json

from core.completion import CompletionRequest
from core.message import ImagePart, Part, ToolResultPart
from providers.tokens import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, request_chars

_FEWEST_CHARS_PER_TOKEN = 3
"""On the safe side for prose, near the truth for code and JSON."""


def generous_request_tokens(request: CompletionRequest) -> int:
    """Input tokens of messages, tools and output schema; microseconds per message."""
    tools = sum(len(t.as_json) for t in request.tools)
    schema = len(json.dumps(request.output_schema)) if request.output_schema else 0
    images = sum(_images(p) for m in request.messages for p in m.parts)
    texts = (request_chars(request) + tools + schema) // _FEWEST_CHARS_PER_TOKEN
    return texts + images * TOKENS_PER_IMAGE + len(request.messages) * TOKENS_PER_MESSAGE


def generous_text_tokens(text: str) -> int:
    return len(text) // _FEWEST_CHARS_PER_TOKEN + 1


def _images(part: Part) -> int:
    if isinstance(part, ToolResultPart):
        return len(part.images)
    return int(isinstance(part, ImagePart))
