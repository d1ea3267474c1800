"""Tokens counted without asking anyone: exactly where an encoding lies at hand, else estimated."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, Protocol

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

TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1200
"""Providers charge an image by its size in pixels, which is not known here; about 1 megapixel."""

_O200K_URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
_PIECES = re.compile(
    r"(?P<wide>[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef])"
    r"|(?P<word>[^\W\d_]+)|(?P<digits>\d+)|(?P<space>\s+)|(?P<mark>.)",
    re.DOTALL,
)


class Encoding(Protocol):
    """The one method used of ``tiktoken.Encoding``."""

    def encode_ordinary(self, text: str) -> list[int]: ...


def estimate_request_tokens(request: CompletionRequest, *, model: str) -> int:
    """Input tokens of a whole request: messages, tool definitions and output schema."""
    encoding = local_encoding() if is_openai_model(model) else None
    tools = sum(_count(_json(t.model_dump()), encoding) for t in request.tools)
    schema = _count(_json(request.output_schema), encoding) if request.output_schema else 0
    return tools + schema + sum(_message_tokens(m, encoding) for m in request.messages)


def estimate_text_tokens(text: str) -> int:
    """Tokens of a text without any encoding, within about 15% for prose, code, JSON and CJK.

    Words cost by their length, digits by threes, wide characters and marks one by one; a single
    space costs nothing since it is part of the token that follows it.
    """
    total = 0.0
    for match in _PIECES.finditer(text):
        length = match.end() - match.start()
        kind = match.lastgroup
        if kind == "word":
            total += 1 if length <= 8 else length / 6
        elif kind == "digits":
            total += (length + 2) // 3
        elif kind == "space":
            total += 0 if length == 1 and match.group() == " " else 0.7
        else:
            total += 0.9 if kind == "wide" else 0.65
    return round(total)


def request_chars(request: CompletionRequest) -> int:
    """A cheap lower bound to decide whether counting is worth it: characters of the messages."""
    return sum(len(text) for m in request.messages for p in m.parts for text in _texts(p))


def is_openai_model(model: str) -> bool:
    """Whether a model id is of OpenAI's own families, with or without a vendor prefix."""
    return bool(re.match(r"(openai/)?(gpt-(?!oss)|chatgpt-|o\d)", model))


@cache
def local_encoding() -> Encoding | None:
    """The o200k encoding where ``TIKTOKEN_CACHE_DIR`` holds its file; tiktoken would else download.

    Newer models are assumed to use it too.
    """
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    # tiktoken names the files of its cache by the digest of where they come from.
    name = hashlib.sha1(_O200K_URL.encode(), usedforsecurity=False).hexdigest()
    if not folder or not (Path(folder) / name).is_file():
        return None
    import tiktoken  # only where its data is at hand

    return tiktoken.get_encoding("o200k_base")


def _message_tokens(message: Message, encoding: Encoding | None) -> int:
    return TOKENS_PER_MESSAGE + sum(_part_tokens(p, encoding) for p in message.parts)


def _part_tokens(part: Part, encoding: Encoding | None) -> int:
    images = 0
    if isinstance(part, ImagePart):
        images = 1
    elif isinstance(part, ToolResultPart):
        images = len(part.images)
    texts = sum(_count(text, encoding) for text in _texts(part))
    return texts + images * TOKENS_PER_IMAGE


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
