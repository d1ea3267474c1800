"""OpenAI's Responses API, from OpenAI, from Azure's v1 address or from a compatible endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel

from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus
from core.embedding import EmbeddingRequest, Embeddings
from core.errors import MalformedAnswerError, ManusError
from core.message import ThinkingPart
from core.provider_settings import ProviderSettings
from providers.base import BaseProvider
from providers.openai_connection import connect
from providers.openai_embeddings import EmbeddingsEndpoint
from providers.openai_responses_answer import (
    ALIASES,
    ENDED,
    ResponseAccumulator,
    ResponseAnswer,
    StreamEvent,
    draft,
)
from providers.openai_responses_request import render_request

_PATH = "/responses"
_COUNTED = frozenset({"model", "input", "tools", "tool_choice", "parallel_tool_calls", "text"})
_TEXT_DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_THINKING_DELTAS = frozenset(
    {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}
)


class _TokenCount(BaseModel):
    input_tokens: int


class OpenAIResponsesProvider(BaseProvider):
    """``settings`` must be resolved: with the key and the base URL."""

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings.timeout_seconds)
        # OpenAI bounds its own answers; a limit is sent where somebody asked for one.
        limited = "max_output_tokens" in settings.model_fields_set
        self._default_output_tokens = settings.max_output_tokens if limited else None
        self._connection = connect(name, settings, "a response")
        self._embeddings = EmbeddingsEndpoint(name, settings.kind, self._connection)

    async def get_status(self) -> ProviderStatus:
        """Lists the models, free of charge."""
        return await self._connection.check()

    async def ask_token_count(self, request: CompletionRequest, *, model: str) -> int:
        """Asked of the service, free of charge, images included."""
        body = {k: v for k, v in self._render(request, model).items() if k in _COUNTED}
        with self._connection.mapped_errors():
            response = await self._connection.post(
                f"{_PATH}/input_tokens", body, self._limit(request)
            )
            return _TokenCount.model_validate_json(response.content).input_tokens

    async def close(self) -> None:
        await self._connection.close()

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        body = self._render(request, model)
        with self._connection.mapped_errors():
            response = await self._connection.post(_PATH, body, self._limit(request))
            answer = ResponseAnswer.model_validate_json(response.content)
            return self._read(answer, model, response.headers.get("x-request-id"))

    async def _embed(self, request: EmbeddingRequest, model: str) -> Embeddings:
        limit = min(request.timeout_seconds, self._timeout_seconds)
        return await self._embeddings.embed(request, model, limit)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        body = self._render(request, model) | {"stream": True}
        gathered = ResponseAccumulator()
        async with self._connection.stream(_PATH, body, self._limit(request)) as stream:
            request_id = stream.response.headers.get("x-request-id")
            with self._connection.mapped_errors():
                async for raw in stream:
                    event = StreamEvent.model_validate(raw)
                    if event.type == "error":
                        problem = {"code": event.code, "message": event.message}
                        raise self._failed(problem, request_id)
                    gathered.add(event)
                    if chunk := self._chunk(event):
                        yield chunk
        if gathered.final is not None:
            with self._connection.mapped_errors():
                whole = self._read(gathered.final, model, request_id)
            yield Chunk(completion=whole)

    def _render(self, request: CompletionRequest, model: str) -> dict[str, Any]:
        return render_request(
            request,
            model=model,
            provider=self.name,
            default_output_tokens=self._default_output_tokens,
        )

    def _read(self, answer: ResponseAnswer, model: str, request_id: str | None) -> Completion:
        if answer.error is not None:
            raise self._failed(answer.error, request_id)
        if answer.status not in ENDED:
            message = f"{self.name}: the response is {answer.status or 'of no known state'}"
            raise MalformedAnswerError(message, provider=self.name, request_id=request_id)
        return self._finish(draft(answer, provider=self.name, request_id=request_id), model)

    def _failed(self, error: dict[str, Any], request_id: str | None) -> ManusError:
        alias = ALIASES.get(str(error.get("code")))
        return self._connection.error_in_answer(error, request_id, alias)

    def _chunk(self, event: StreamEvent) -> Chunk | None:
        if not event.delta:
            return None
        if event.type in _TEXT_DELTAS:
            return Chunk(text=str(event.delta))
        if event.type in _THINKING_DELTAS:
            return Chunk(thinking=ThinkingPart(text=str(event.delta), provider=self.name))
        return None
