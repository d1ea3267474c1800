"""A scripted answer as the embeddings endpoints of OpenAI and Bedrock write it.

The vectors follow from the texts alone, so that a test knows which belongs to which.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

from tests.fakes import wire_bedrock, wire_openai
from tests.fakes.script import Answer, Fault, RecordedRequest


def vector_of(text: str, dimensions: int = 8) -> tuple[float, ...]:
    """Multiples of 1/256, which 32-bit floats hold exactly."""
    digest = hashlib.sha512(text.encode()).digest()
    return tuple(digest[i % len(digest)] / 256 for i in range(dimensions))


def render_body(request: RecordedRequest, answer: Answer) -> bytes:
    body = request.body
    if request.protocol == "embeddings":
        return json.dumps(_openai(body, answer)).encode()
    if "inputText" in body:
        vector = vector_of(body["inputText"], body.get("dimensions", 8))
        whole: Any = {"embedding": vector, "inputTextTokenCount": answer.usage.input}
    else:
        vectors = [vector_of(t, body.get("output_dimension", 8)) for t in body["texts"]]
        whole = {"embeddings": {"float": vectors} if body.get("embedding_types") else vectors}
    return json.dumps(whole).encode()


def _openai(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """In another order than asked, which the protocol allows."""
    data: list[dict[str, Any]] = []
    texts: list[str] = body["input"]
    for index, text in reversed(list(enumerate(texts))):
        vector = vector_of(text, body.get("dimensions", 8))
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        shown = packed if body.get("encoding_format") == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": shown})
    used = {"prompt_tokens": answer.usage.input, "total_tokens": answer.usage.input}
    return {"object": "list", "data": data, "model": body["model"], "usage": used}


def render_error(fault: Fault) -> dict[str, Any]:
    """Bedrock reads the message alone, OpenAI the whole of it."""
    return wire_openai.render_error(fault) | wire_bedrock.render_error(fault)
