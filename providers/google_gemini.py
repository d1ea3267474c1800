"""Gemini through Google's own REST API; its OpenAI-compatible endpoint is the kind ``google``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from core.base import JsonObject
from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus, TokenUsage
from core.embedding import EmbeddingRequest, Embeddings
from core.message import ThinkingPart
from core.provider_settings import ProviderSettings
from providers.base import BaseProvider
from providers.google_answer import GeminiAccumulator, GeminiAnswer
from providers.google_connection import GoogleConnection
from providers.google_request import render_request
from providers.http_errors import status_of

_STATUS_TIMEOUT_SECONDS = 5.0
_TEXTS_PER_REQUEST = 100
_PURPOSES = {"document": "RETRIEVAL_DOCUMENT", "query": "RETRIEVAL_QUERY"}


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class _TokenCount(_Wire):
    total_tokens: int


class _Vector(_Wire):
    values: tuple[float, ...]


class _EmbedUsage(_Wire):
    prompt_token_count: int = 0


class _Vectors(_Wire):
    embeddings: tuple[_Vector, ...]
    usage_metadata: _EmbedUsage = _EmbedUsage()


class GeminiProvider(BaseProvider):
    """``settings`` must be resolved: with the key, and the base URL if it is not Google's."""

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings.timeout_seconds)
        limited = "max_output_tokens" in settings.model_fields_set
        self._default_output_tokens = settings.max_output_tokens if limited else None
        self._connection = GoogleConnection(name, settings)

    async def get_status(self) -> ProviderStatus:
        """Lists the models, free of charge."""
        return await status_of(self.name, self._list_models())

    async def ask_token_count(self, request: CompletionRequest, *, model: str) -> int:
        """Asked of the service, free of charge."""
        body = {"model": _place(model), **self._render(request, model)}
        with self._connection.mapped_errors():
            raw = await self._connection.post(
                _path(model, "countTokens"), {"generateContentRequest": body}, self._limit(request)
            )
            return _TokenCount.model_validate_json(raw).total_tokens

    async def close(self) -> None:
        await self._connection.close()

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        gathered = GeminiAccumulator(self.name)
        with self._connection.mapped_errors():
            raw = await self._connection.post(
                _path(model, "generateContent"), self._render(request, model), self._limit(request)
            )
            gathered.add(self._read(raw))
        return self._finish(gathered.draft(), model)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        gathered = GeminiAccumulator(self.name)
        body, limit = self._render(request, model), self._limit(request)
        path = _path(model, "streamGenerateContent")
        async with self._connection.stream(path, body, limit) as events:
            with self._connection.mapped_errors():
                async for raw in events:
                    text, thinking = gathered.add(self._read(raw))
                    if text or thinking:
                        yield self._chunk(text, thinking)
        if gathered.over:
            yield Chunk(completion=self._finish(gathered.draft(), model))

    async def _embed(self, request: EmbeddingRequest, model: str) -> Embeddings:
        """In requests of a hundred texts. The service need not say how many tokens they were."""
        limit = min(request.timeout_seconds, self._timeout_seconds)
        vectors: list[tuple[float, ...]] = []
        tokens = 0
        for start in range(0, len(request.texts), _TEXTS_PER_REQUEST):
            texts = request.texts[start : start + _TEXTS_PER_REQUEST]
            asked = [_embed_request(text, request, model) for text in texts]
            with self._connection.mapped_errors():
                raw = await self._connection.post(
                    _path(model, "batchEmbedContents"), {"requests": asked}, limit
                )
                answer = _Vectors.model_validate_json(raw)
            vectors += [vector.values for vector in answer.embeddings]
            tokens += answer.usage_metadata.prompt_token_count
        return Embeddings(
            vectors=tuple(vectors),
            provider=self.name,
            deployment=f"{self.name}:{model}",
            model=model,
            usage=TokenUsage(input_tokens=tokens),
        )

    async def _list_models(self) -> None:
        with self._connection.mapped_errors():
            await self._connection.get("/models", _STATUS_TIMEOUT_SECONDS)

    def _read(self, raw: bytes) -> GeminiAnswer:
        answer = GeminiAnswer.model_validate_json(raw)
        if answer.error is not None:
            raise self._connection.error_of(answer.error, 200)
        return answer

    def _render(self, request: CompletionRequest, model: str) -> dict[str, Any]:
        return render_request(
            request,
            model=model,
            provider=self.name,
            default_output_tokens=self._default_output_tokens,
        )

    def _chunk(self, text: str, thinking: str) -> Chunk:
        part = ThinkingPart(text=thinking, provider=self.name) if thinking else None
        return Chunk(text=text, thinking=part)


def _embed_request(text: str, request: EmbeddingRequest, model: str) -> JsonObject:
    wire: JsonObject = {"model": _place(model), "content": {"parts": [{"text": text}]}}
    wire["taskType"] = _PURPOSES[request.purpose]
    if request.dimensions is not None:
        wire["outputDimensionality"] = request.dimensions
    return wire


def _place(model: str) -> str:
    """The model as the service names it; tuned ones have another folder."""
    return model if "/" in model else f"models/{model}"


def _path(model: str, method: str) -> str:
    return f"/{quote(_place(model))}:{method}"
