"""The embeddings endpoint of OpenAI and of the services that are compatible with it."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel, Field

from core.base import JsonObject
from core.completion import TokenUsage
from core.embedding import EmbeddingRequest, Embeddings
from core.errors import MalformedAnswerError, UnsupportedError
from core.provider_settings import ProviderKind
from providers.openai_connection import OpenAIConnection

_PATH = "/embeddings"
_TEXTS_PER_REQUEST: Mapping[ProviderKind, int] = MappingProxyType(
    {"openai": 2048, "openai_responses": 2048, "azure": 2048, "google": 100, "ollama": 512}
)
_USUAL_TEXTS = 256
_CHARS_PER_REQUEST = 300_000
"""OpenAI takes 300,000 tokens over all texts of a request; a token is hardly less than one."""
_WITHOUT: frozenset[ProviderKind] = frozenset({"groq", "deepseek"})
_BASE64: frozenset[ProviderKind] = frozenset({"openai", "openai_responses", "azure"})
"""Who is asked for vectors as little-endian 32-bit floats, a quarter of the bytes of numbers."""


class _Item(BaseModel):
    index: int
    embedding: list[float] | str


class _Usage(BaseModel):
    prompt_tokens: int = 0


class _Answer(BaseModel):
    data: list[_Item]
    model: str | None = None
    usage: _Usage = Field(default_factory=_Usage)


class EmbeddingsEndpoint:
    """Of one provider. Many texts are split into several requests, made one after the other."""

    def __init__(self, name: str, kind: ProviderKind, connection: OpenAIConnection) -> None:
        self._name = name
        self._kind: ProviderKind = kind
        self._connection = connection

    async def embed(self, request: EmbeddingRequest, model: str, timeout: float) -> Embeddings:
        """``timeout`` is of one request, in seconds.

        Raises:
            UnsupportedError: the service has no such endpoint.
        """
        if self._kind in _WITHOUT:
            message = f"{self._name}: {self._kind} makes no embeddings"
            raise UnsupportedError(message, provider=self._name)
        vectors: list[tuple[float, ...]] = []
        tokens, answered, request_id = 0, model, None
        most = _TEXTS_PER_REQUEST.get(self._kind, _USUAL_TEXTS)
        for texts in batches(request.texts, most, _CHARS_PER_REQUEST):
            with self._connection.mapped_errors():
                body = self._render(request, texts, model)
                response = await self._connection.post(_PATH, body, timeout)
                answer = _Answer.model_validate_json(response.content)
                vectors += self._in_order(answer, len(texts))
            tokens += answer.usage.prompt_tokens
            answered = answer.model or answered
            request_id = response.headers.get("x-request-id") or request_id
        return Embeddings(
            vectors=tuple(vectors),
            provider=self._name,
            deployment=f"{self._name}:{model}",
            model=answered,
            usage=TokenUsage(input_tokens=tokens),
            request_id=request_id,
        )

    def _render(self, request: EmbeddingRequest, texts: Sequence[str], model: str) -> JsonObject:
        encoding = "base64" if self._kind in _BASE64 else "float"
        body: JsonObject = {"model": model, "input": list(texts), "encoding_format": encoding}
        return body if request.dimensions is None else body | {"dimensions": request.dimensions}

    def _in_order(self, answer: _Answer, texts: int) -> list[tuple[float, ...]]:
        """By what each says it belongs to; some services answer in another order."""
        by_index = {item.index: item.embedding for item in answer.data}
        if sorted(by_index) != list(range(texts)) or len(answer.data) != texts:
            message = f"{self._name}: {len(answer.data)} vectors for {texts} texts"
            raise MalformedAnswerError(message, provider=self._name)
        return [_numbers(by_index[i]) for i in range(texts)]


def batches(texts: Sequence[str], most: int, most_chars: int) -> Iterator[Sequence[str]]:
    """The texts in order, at most so many and so long together; a longer one goes alone."""
    start, chars = 0, 0
    for end, text in enumerate(texts):
        if end > start and (end - start == most or chars + len(text) > most_chars):
            yield texts[start:end]
            start, chars = end, 0
        chars += len(text)
    yield texts[start:]


def _numbers(embedding: list[float] | str) -> tuple[float, ...]:
    """Raises ValueError for what is neither numbers nor whole 32-bit floats in base64."""
    if not isinstance(embedding, str):
        return tuple(embedding)
    try:
        raw = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    except (binascii.Error, struct.error) as error:
        raise ValueError("a vector that is not base64 of floats") from error
