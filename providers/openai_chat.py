"""OpenAI chat completions, from OpenAI or from any compatible endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus
from core.embedding import EmbeddingRequest, Embeddings
from core.errors import MalformedAnswerError
from core.message import ThinkingPart
from core.provider_settings import ProviderSettings
from providers.base import BaseProvider
from providers.openai_answer import ChatAccumulator, ChatAnswer
from providers.openai_connection import OpenAIConnection, connect
from providers.openai_embeddings import EmbeddingsEndpoint
from providers.openai_request import render_request
from providers.profiles import load_profiles

PROTOCOL = "chat completions"
_PATH = "/chat/completions"


class OpenAIChatProvider(BaseProvider):
    """``settings`` must be resolved: with the key where there is one, and the base URL.

    The profile of the settings' kind says how the service differs from OpenAI.
    """

    def __init__(
        self, name: str, settings: ProviderSettings, connection: OpenAIConnection | None = None
    ) -> None:
        super().__init__(name, settings.timeout_seconds)
        self._profile = load_profiles()[settings.kind]
        # OpenAI bounds its own answers; a limit is sent where somebody asked for one.
        limited = "max_output_tokens" in settings.model_fields_set
        self._default_output_tokens = settings.max_output_tokens if limited else None
        self._connection = connection or connect(name, settings, PROTOCOL)
        self._embeddings = EmbeddingsEndpoint(name, settings.kind, self._connection)

    async def get_status(self) -> ProviderStatus:
        """Lists the models, free of charge."""
        return await self._connection.check()

    async def close(self) -> None:
        await self._connection.close()

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        body = self._render(request, model)
        with self._connection.mapped_errors():
            response = await self._connection.post(_PATH, body, self._limit(request))
            answer = ChatAnswer.model_validate_json(response.content)
            request_id = response.headers.get("x-request-id")
            draft = self._gather(answer, request_id).draft(request_id)
        return self._finish(draft, model)

    async def _embed(self, request: EmbeddingRequest, model: str) -> Embeddings:
        limit = min(request.timeout_seconds, self._timeout_seconds)
        return await self._embeddings.embed(request, model, limit)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        body = self._render(request, model) | {"stream": True}
        if self._profile.stream_options:
            body["stream_options"] = {"include_usage": True}
        gathered = ChatAccumulator(self.name)
        async with self._connection.stream(_PATH, body, self._limit(request)) as stream:
            with self._connection.mapped_errors():
                async for event in stream:
                    added = gathered.add(ChatAnswer.model_validate(event))
                    if added and (added.content or added.refusal or added.thinking):
                        yield self._chunk(added.content or added.refusal, added.thinking)
            request_id = stream.response.headers.get("x-request-id")
        if gathered.finish_reason is not None:
            yield Chunk(completion=self._finish(gathered.draft(request_id), model))

    def _render(self, request: CompletionRequest, model: str) -> dict[str, Any]:
        return render_request(
            request,
            model=model,
            provider=self.name,
            profile=self._profile,
            default_output_tokens=self._default_output_tokens,
        )

    def _gather(self, answer: ChatAnswer, request_id: str | None) -> ChatAccumulator:
        if answer.error is not None:
            raise self._connection.error_in_answer(answer.error, request_id)
        if not answer.choices:
            message = f"{self.name}: the answer has no choice"
            raise MalformedAnswerError(message, provider=self.name, request_id=request_id)
        gathered = ChatAccumulator(self.name)
        gathered.add(answer)
        return gathered

    def _chunk(self, text: str | None, thinking: str) -> Chunk:
        part = ThinkingPart(text=thinking, provider=self.name) if thinking else None
        return Chunk(text=text or "", thinking=part)
