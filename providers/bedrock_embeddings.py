"""Embeddings on Bedrock: Titan one text at a time, Cohere up to 96, each with a body of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from pydantic import BaseModel

from core.base import JsonObject
from core.completion import TokenUsage
from core.embedding import EmbeddingRequest, Embeddings
from core.errors import UnsupportedError
from providers.openai_embeddings import batches

_AT_ONCE = 8
_COHERE_TEXTS = 96
_COHERE_CHARS = 96 * 2048
_TOKENS_HEADER = "x-amzn-bedrock-input-token-count"

Invoke = Callable[[str, bytes], Awaitable[tuple[bytes, dict[str, str]]]]
"""``(model, body)`` to the answer's body and headers; raises only ``core.errors``."""


class _Titan(BaseModel):
    embedding: list[float]
    inputTextTokenCount: int = 0  # noqa: N815  the wire's name


class _Cohere(BaseModel):
    """``embeddings`` is by type where the request named types."""

    embeddings: list[list[float]] | dict[str, list[list[float]]]

    @property
    def vectors(self) -> list[list[float]]:
        found = self.embeddings
        return found["float"] if isinstance(found, dict) else found


async def embed(name: str, request: EmbeddingRequest, model: str, invoke: Invoke) -> Embeddings:
    """Raises UnsupportedError for a model whose body is not known here."""
    if "titan-embed" in model:
        vectors, tokens = await _titan(request, model, invoke)
    elif "cohere.embed" in model:
        vectors, tokens = await _cohere(request, model, invoke)
    else:
        message = f"{name}: '{model}' is none of Bedrock's embedding models (Titan, Cohere)"
        raise UnsupportedError(message, provider=name)
    return Embeddings(
        vectors=tuple(tuple(v) for v in vectors),
        provider=name,
        deployment=f"{name}:{model}",
        model=model,
        usage=TokenUsage(input_tokens=tokens),
    )


async def _titan(
    request: EmbeddingRequest, model: str, invoke: Invoke
) -> tuple[list[list[float]], int]:
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def one(text: str) -> _Titan:
        body: JsonObject = {"inputText": text}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        async with at_once:
            raw, _ = await invoke(model, json.dumps(body).encode())
        return _Titan.model_validate_json(raw)

    tasks = [asyncio.ensure_future(one(text)) for text in request.texts]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        # The first error ends it: the others would be paid for nothing.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [a.embedding for a in answers], sum(a.inputTextTokenCount for a in answers)


async def _cohere(
    request: EmbeddingRequest, model: str, invoke: Invoke
) -> tuple[list[list[float]], int]:
    vectors: list[list[float]] = []
    tokens = 0
    for texts in batches(request.texts, _COHERE_TEXTS, _COHERE_CHARS):
        raw, headers = await invoke(model, json.dumps(_cohere_body(request, texts)).encode())
        vectors += _Cohere.model_validate_json(raw).vectors
        tokens += int(headers.get(_TOKENS_HEADER, 0))
    return vectors, tokens


def _cohere_body(request: EmbeddingRequest, texts: Sequence[str]) -> JsonObject:
    kind = "search_query" if request.purpose == "query" else "search_document"
    body: JsonObject = {"texts": list(texts), "input_type": kind, "embedding_types": ["float"]}
    return body if request.dimensions is None else body | {"output_dimension": request.dimensions}
