"""Answers that are given again to the same question, across calls, runs and processes.

Only whole good answers are kept: ended by themselves or with tool calls, from a deployment of the
route itself, with arguments that are JSON objects and text that fits the schema asked for. They
come back as they were, ids of tool calls included: what providers sign of a turn names them.

Of the same questions at the same time one is asked, the others wait for its answer: within a
process, and between those that share a store. Where the one that was asked fails, or takes longer
than a try may, each asks for itself; where it is cancelled, the next one takes its place.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.base import JsonObject
from core.completion import Chunk, Completion, CompletionRequest, StopReason
from core.message import ThinkingPart
from providers.response_cache_key import request_key
from providers.response_cache_store import CacheEntry, CacheStore
from providers.route import Route

Ask = Callable[[], Awaitable[Completion]]
AskStream = Callable[[], AsyncGenerator[Chunk, None]]


@dataclass(frozen=True, slots=True)
class Question:
    """A request with its route, its key and for how long an answer to it may serve."""

    request: CompletionRequest
    route: Route
    key: str
    ttl_seconds: float

    def is_answered_well_by(self, completion: Completion) -> bool:
        """Whether the answer may be kept."""
        if completion.stop_reason not in (StopReason.END, StopReason.TOOL_CALLS):
            return False
        if completion.deployment not in {d.name for d in self.route.deployments}:
            return False
        if any(c.arguments_error for c in completion.tool_calls):
            return False
        return completion.tool_calls != () or self._fits_schema(completion.text)

    def _fits_schema(self, text: str) -> bool:
        if self.request.output_schema is None:
            return True
        import jsonschema

        try:
            jsonschema.validate(json.loads(text), self.request.output_schema)
        except (ValueError, jsonschema.ValidationError):
            return False
        return True


@dataclass(slots=True)
class Turn:
    """One caller's turn at a question: the ``kept`` answer, or leave to ask and tell the others."""

    question: Question
    kept: Completion | None = None
    flight: asyncio.Future[Completion | None] | None = None

    def land(self, answer: Completion) -> None:
        """Gives those who wait the answer, if it is one that may be kept."""
        flight = self.flight
        if flight and not flight.done() and self.question.is_answered_well_by(answer):
            flight.set_result(answer)


class ResponseCache:
    """Stands before a router. Use one instance within one event loop.

    ``providers`` are the providers' identities by name (``provider_identity``).
    """

    def __init__(
        self, store: CacheStore, namespace: str, providers: Mapping[str, JsonObject]
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._providers = dict(providers)
        self._flights: dict[str, asyncio.Future[Completion | None]] = {}

    def question(self, request: CompletionRequest, route: Route) -> Question | None:
        """What to look for, ``None`` where neither the request nor its route wants the cache."""
        own = request.cache_ttl_seconds
        ttl = route.cache_ttl_seconds if own is None else own
        if not ttl:
            return None
        key = request_key(self._namespace, route, self._providers, request)
        return Question(request, route, key, ttl)

    async def answer(self, request: CompletionRequest, route: Route, ask: Ask) -> Completion:
        """The kept answer, that of the same question under way, or what ``ask`` gives.

        Raises only what ``ask`` raises.
        """
        question = self.question(request, route)
        if question is None:
            return await ask()
        began = time.monotonic()
        async with self._turn(question) as turn:
            if turn.kept is not None:
                return _as_hit(turn.kept, began)
            answer = await ask()
            turn.land(answer)
            await self._keep(question, answer)
            return answer

    async def stream(
        self, request: CompletionRequest, route: Route, ask: AskStream
    ) -> AsyncGenerator[Chunk, None]:
        """The same for a stream: a kept answer's text comes as one chunk. To be closed."""
        question = self.question(request, route)
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            turn = await stack.enter_async_context(self._turn(question)) if question else None
            if turn and turn.kept is not None:
                for chunk in _as_chunks(_as_hit(turn.kept, began)):
                    yield chunk
                return
            chunks = await stack.enter_async_context(aclosing(ask()))
            async for chunk in chunks:
                if turn and chunk.completion is not None:
                    turn.land(chunk.completion)
                    await self._keep(turn.question, chunk.completion)
                yield chunk

    async def close(self) -> None:
        """Idempotent."""
        await self._store.close()

    @asynccontextmanager
    async def _turn(self, question: Question) -> AsyncGenerator[Turn, None]:
        turn = Turn(question)
        if question.request.cache_refresh:
            yield turn
            return
        while (flight := self._flights.get(question.key)) is not None:
            turn.kept = await _landed(flight, question.request.timeout_seconds)
            if turn.kept is not None or not flight.cancelled():
                yield turn
                return
        async with AsyncExitStack() as stack:
            await self._lead(turn, stack)
            yield turn

    async def _lead(self, turn: Turn, stack: AsyncExitStack) -> None:
        question = turn.question
        turn.flight = stack.enter_context(self._flying(question.key))
        turn.kept = await self._load(question)
        if turn.kept is None:
            patience = question.request.timeout_seconds
            await stack.enter_async_context(self._store.leading(question.key, patience))
            turn.kept = await self._load(question)
        if turn.kept is not None:
            turn.land(turn.kept)

    @contextmanager
    def _flying(self, key: str) -> Generator[asyncio.Future[Completion | None]]:
        flight: asyncio.Future[Completion | None] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            yield flight
        except (asyncio.CancelledError, GeneratorExit):
            flight.cancel()
            raise
        finally:
            del self._flights[key]
            if not flight.done():
                flight.set_result(None)

    async def _load(self, question: Question) -> Completion | None:
        entry = await self._store.load(question.key)
        now = datetime.now(UTC)
        # A time to live that was shortened since holds for what is kept already.
        oldest = now - timedelta(seconds=question.ttl_seconds)
        if entry is None or entry.expires_at <= now or entry.stored_at <= oldest:
            return None
        return entry.completion

    async def _keep(self, question: Question, answer: Completion) -> None:
        if not question.is_answered_well_by(answer):
            return
        now = datetime.now(UTC)
        entry = CacheEntry(
            key=question.key,
            namespace=self._namespace,
            route=question.route.name,
            stored_at=now,
            expires_at=now + timedelta(seconds=question.ttl_seconds),
            completion=answer,
        )
        await self._store.save(entry)


async def _landed(
    flight: asyncio.Future[Completion | None], patience_seconds: float
) -> Completion | None:
    """The good answer of a flight, ``None`` where there is none in time; leaves it untouched."""
    await asyncio.wait([flight], timeout=patience_seconds)
    return flight.result() if flight.done() and not flight.cancelled() else None


def _as_hit(answer: Completion, began: float) -> Completion:
    """What the caller sees of an answer that cost nothing: its own waiting time."""
    took = time.monotonic() - began
    times = {"latency_seconds": took, "time_to_first_token_seconds": None, "cache_hit": True}
    return answer.model_copy(update=times)


def _as_chunks(answer: Completion) -> tuple[Chunk, ...]:
    thinking = [Chunk(thinking=p) for p in answer.parts if isinstance(p, ThinkingPart)]
    text = [Chunk(text=answer.text)] if answer.text else []
    return (*thinking, *text, Chunk(completion=answer))
