"""The contract of a provider: one wire protocol, one account, any of its models."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import ClassVar

from core.base import JsonObject
from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus, TokenUsage
from core.completion import StopReason as Stop
from core.embedding import EmbeddingRequest, Embeddings
from core.errors import (
    ContentRefusedError,
    MalformedAnswerError,
    ProviderTimeoutError,
    TruncatedStreamError,
    UnsupportedError,
)
from core.message import Part, TextPart, ToolCallPart
from providers.tokens import estimate_request_tokens


@dataclass(frozen=True, slots=True)
class AnswerDraft:
    """What an adapter read from the wire. ``model`` is the one that says it answered."""

    parts: tuple[Part, ...]
    stop_reason: Stop
    model: str | None
    usage: TokenUsage
    raw_usage: JsonObject
    request_id: str | None


class BaseProvider(ABC):
    """Deadlines, timing and the rules every answer obeys; subclasses speak the wire.

    A subclass writes ``_complete`` and ``_stream``, raises only ``core.errors``, and never
    retries. ``name`` is the provider's name in the configuration; thinking parts that carry
    another name are not sent. Use one instance within one event loop.
    """

    runs_here: ClassVar[bool] = False
    """Whether the model runs in this process and needs neither key nor network."""

    default_temperature: float | None = None
    """Of requests that name none."""

    def __init__(self, name: str, timeout_seconds: float) -> None:
        self.name = name
        self._timeout_seconds = timeout_seconds

    async def generate_completion(self, request: CompletionRequest, *, model: str) -> Completion:
        """One try.

        Raises:
            RetryableError: the provider, the network or the answer failed.
            ProviderRejectedError: the provider refused the request.
        """
        started = time.monotonic()
        request = self._with_temperature(request)
        try:
            async with asyncio.timeout(self._limit(request)):
                completion = await self._complete(request, model)
        except TimeoutError as error:
            raise self._timed_out(request) from error
        return completion.model_copy(update={"latency_seconds": time.monotonic() - started})

    async def generate_stream(
        self, request: CompletionRequest, *, model: str
    ) -> AsyncGenerator[Chunk, None]:
        """Text and thinking as they come, then one chunk with the whole completion.

        Raises:
            TruncatedStreamError: the stream ended without the protocol's terminal marker.
        """
        started = time.monotonic()
        deadline = asyncio.get_running_loop().time() + self._limit(request)
        first: float | None = None
        chunks = self._stream(self._with_temperature(request), model)
        try:
            while (chunk := await self._next_chunk(chunks, deadline, request)).completion is None:
                first = first or time.monotonic() - started
                yield chunk
            times = {
                "latency_seconds": time.monotonic() - started,
                "time_to_first_token_seconds": first,
            }
            yield Chunk(completion=chunk.completion.model_copy(update=times))
        finally:
            await chunks.aclose()

    async def count_tokens(self, request: CompletionRequest, *, model: str) -> int:
        """Input tokens of the request; an estimate made here where the provider has no counter."""
        counted = await self.ask_token_count(request, model=model)
        return estimate_request_tokens(request, model=model) if counted is None else counted

    async def ask_token_count(self, request: CompletionRequest, *, model: str) -> int | None:
        """The provider's own count, free of charge; ``None`` where it does not count for it."""
        return None

    async def generate_embeddings(self, request: EmbeddingRequest, *, model: str) -> Embeddings:
        """One vector for each text, in their order.

        Raises:
            UnsupportedError: this provider makes none.
            RetryableError: the provider, the network or the answer failed.
            ProviderRejectedError: the provider refused the request.
        """
        started = time.monotonic()
        limit = min(request.timeout_seconds, self._timeout_seconds)
        try:
            async with asyncio.timeout(limit):
                answer = await self._embed(request, model)
        except TimeoutError as error:
            message = f"{self.name}: no answer within {limit:g} s"
            raise ProviderTimeoutError(message, provider=self.name) from error
        check_vectors(self.name, answer, len(request.texts))
        return answer.model_copy(update={"latency_seconds": time.monotonic() - started})

    async def _embed(self, request: EmbeddingRequest, model: str) -> Embeddings:
        raise UnsupportedError(f"{self.name} makes no embeddings", provider=self.name)

    @abstractmethod
    async def get_status(self) -> ProviderStatus:
        """Whether it can be reached, without spending anything. Does not raise."""

    async def close(self) -> None:
        """Releases connections and threads. Idempotent."""
        return

    @abstractmethod
    async def _complete(self, request: CompletionRequest, model: str) -> Completion: ...

    @abstractmethod
    def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]: ...

    def _with_temperature(self, request: CompletionRequest) -> CompletionRequest:
        if request.temperature is not None or self.default_temperature is None:
            return request
        return request.model_copy(update={"temperature": self.default_temperature})

    def _limit(self, request: CompletionRequest) -> float:
        """Seconds that one try may take."""
        return min(request.timeout_seconds, self._timeout_seconds)

    def _timed_out(self, request: CompletionRequest) -> ProviderTimeoutError:
        limit = self._limit(request)
        message = f"{self.name}: no answer within {limit:g} s"
        return ProviderTimeoutError(message, provider=self.name)

    def _finish(self, draft: AnswerDraft, model: str) -> Completion:
        """Makes the completion of a draft.

        Raises:
            MalformedAnswerError: nothing was said and no tool called, without a reason for it.
            ContentRefusedError: the provider refused without a word.
        """
        details = {"provider": self.name, "request_id": draft.request_id}
        if not any(_says_something(part) for part in draft.parts):
            if draft.stop_reason is Stop.REFUSAL:
                raise ContentRefusedError(f"{self.name}: the answer was refused", **details)
            if draft.stop_reason is not Stop.LENGTH:
                raise MalformedAnswerError(f"{self.name}: the answer is empty", **details)
        return Completion(
            parts=draft.parts,
            stop_reason=draft.stop_reason,
            provider=self.name,
            deployment=f"{self.name}:{model}",
            model=draft.model or model,
            usage=draft.usage,
            request_id=draft.request_id,
            raw_usage=draft.raw_usage,
        )

    async def _next_chunk(
        self, chunks: AsyncGenerator[Chunk, None], deadline: float, request: CompletionRequest
    ) -> Chunk:
        try:
            async with asyncio.timeout_at(deadline):
                return await anext(chunks)
        except TimeoutError as error:
            raise self._timed_out(request) from error
        except StopAsyncIteration as error:
            message = f"{self.name}: the stream ended before its terminal marker"
            raise TruncatedStreamError(message, provider=self.name) from error


def check_vectors(name: str, answer: Embeddings, texts: int) -> None:
    """Raises MalformedAnswerError unless there is one vector per text, all of one length."""
    lengths = {len(v) for v in answer.vectors}
    if len(answer.vectors) != texts or len(lengths) != 1 or 0 in lengths:
        problem = f"{len(answer.vectors)} vectors of {sorted(lengths)} numbers for {texts} texts"
        raise MalformedAnswerError(f"{name}: {problem}", provider=name)


def _says_something(part: Part) -> bool:
    if isinstance(part, TextPart):
        return bool(part.text.strip())
    return isinstance(part, ToolCallPart)
