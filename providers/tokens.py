"""Tokens counted without asking anyone: exactly where the encoding is known, else estimated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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
from providers.image_tokens import UNKNOWN_SIZE_TOKENS, image_tokens
from providers.token_encodings import Encoding, encoding_name, load_encoding

TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = UNKNOWN_SIZE_TOKENS
ESTIMATE_ERROR = 0.15
"""How far an estimate may be off for a text of some length, as a share of its tokens."""
_CHARS_OF_PARAMETERS = 1000
COUNT_ERROR = 0.05
"""The same of a count: how messages and tools are framed is not published."""

_PIECES = re.compile(
    r"(?P<wide>[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef])"
    r"|(?P<word>[A-Za-z]+)|(?P<letters>[^\W\d_]+)|(?P<digits>\d+)|(?P<space>\s+)"
    r"|(?P<point>(?<=\d)[^\w\s])|(?P<mark>.)",
    re.DOTALL,
)
_MARK_COSTS: Mapping[str, float] = MappingProxyType({"wide": 0.72, "point": 1.0, "mark": 0.65})


def estimate_request_tokens(request: CompletionRequest, *, model: str) -> int:
    """Input tokens of a whole request: messages, tool definitions and output schema."""
    encoding = local_encoding(model)
    tools = sum(_count(_json(t.model_dump()), encoding) for t in request.tools)
    schema = _count(_json(request.output_schema), encoding) if request.output_schema else 0
    texts = sum(_message_tokens(m, encoding) for m in request.messages)
    images = sum(image_tokens(i, model) for m in request.messages for i in _images(m))
    return tools + schema + texts + images


def count_error(model: str) -> float:
    """How far ``estimate_request_tokens`` may be off for a model, as a share."""
    return ESTIMATE_ERROR if local_encoding(model) is None else COUNT_ERROR


def token_family(model: str) -> str:
    """The same for models whose requests count alike."""
    vendor = next((v for v in ("gemini-2", "gemini", "claude") if v in model), "")
    return f"{encoding_name(model)} {vendor}"


def estimate_text_tokens(text: str) -> int:
    """Tokens of a text without any encoding, within ``ESTIMATE_ERROR`` for most kinds of text.

    Words cost by their length, digits by threes, wide characters and marks less than one each; a
    single space costs nothing since it is part of the token that follows it.
    """
    total = 0.0
    for match in _PIECES.finditer(text):
        length = match.end() - match.start()
        kind = match.lastgroup
        if kind == "word":
            total += 1 if length <= 8 else length / 5.5
        elif kind == "letters":
            total += max(1, length / 5)
        elif kind == "digits":
            total += (length + 2) // 3
        elif kind == "space":
            total += _space_cost(match.group())
        else:
            total += _MARK_COSTS[kind or "mark"]
    return round(total)


def _space_cost(space: str) -> float:
    if space == " ":
        return 0
    # A line that is indented: the break, and what stands before it.
    return 1.1 if len(space) > 1 and "\n" in space else 0.7


def request_chars(request: CompletionRequest) -> int:
    """A cheap lower bound to decide whether counting is worth it: characters of the messages."""
    return sum(len(text) for m in request.messages for p in m.parts for text in _texts(p))


def local_encoding(model: str) -> Encoding | None:
    """The encoding of a model, ``None`` where it has none that is known here."""
    name = encoding_name(model)
    return load_encoding(name) if name else None


def request_weight(request: CompletionRequest) -> int:
    """As cheap, and of the whole request: about what its tokens would be as characters."""
    images = sum(len(_images(m)) for m in request.messages)
    tools = sum(len(t.description) + _CHARS_OF_PARAMETERS for t in request.tools)
    return request_chars(request) + tools + images * TOKENS_PER_IMAGE


def _message_tokens(message: Message, encoding: Encoding | None) -> int:
    return TOKENS_PER_MESSAGE + sum(_part_tokens(p, encoding) for p in message.parts)


def _part_tokens(part: Part, encoding: Encoding | None) -> int:
    return sum(_count(text, encoding) for text in _texts(part))


def _images(message: Message) -> list[ImagePart]:
    found = [p for p in message.parts if isinstance(p, ImagePart)]
    return found + [i for p in message.parts if isinstance(p, ToolResultPart) for i in p.images]


def _texts(part: Part) -> tuple[str, ...]:
    if isinstance(part, (TextPart, ThinkingPart, ToolResultPart)):
        return (part.text,)
    if isinstance(part, ToolCallPart):
        return (part.name, _json(part.arguments))
    return ()


def _count(text: str, encoding: Encoding | None) -> int:
    return len(encoding.encode_ordinary(text)) if encoding else estimate_text_tokens(text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
