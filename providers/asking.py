"""One try at one deployment, and what is learned from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from core.completion import Completion
from core.embedding import EmbeddingRequest, Embeddings
from core.errors import (
    ManusError,
    ProviderRejectedError,
    RateLimitedError,
)
from providers.admission import Admission, Ticket
from providers.base import BaseProvider
from providers.routed_call import RoutedCall

if TYPE_CHECKING:
    from providers.prices import PriceBook

A = TypeVar("A", Completion, Embeddings)


class Asking:
    """Spends tickets: each is left again, whatever becomes of it."""

    def __init__(
        self, providers: Mapping[str, BaseProvider], prices: PriceBook, admission: Admission
    ) -> None:
        self._providers = providers
        self._prices = prices
        self._admission = admission

    async def ask(self, ticket: Ticket, call: RoutedCall) -> Completion | None:
        """The answer with its cost, ``None`` where another try of the call was first.

        An error is reported to the caller and raised, classified.
        """
        provider = self.provider_of(ticket)
        model = ticket.deployment.model
        return await self._spend(
            ticket, call, lambda: provider.generate_completion(call.next_request(), model=model)
        )

    async def embed(
        self, ticket: Ticket, call: RoutedCall, request: EmbeddingRequest
    ) -> Embeddings | None:
        """The same for vectors; ``call`` has the texts as the messages of its request."""
        provider = self.provider_of(ticket)
        model = ticket.deployment.model
        timed = request.model_copy(update={"timeout_seconds": call.next_request().timeout_seconds})
        return await self._spend(
            ticket, call, lambda: provider.generate_embeddings(timed, model=model)
        )

    def provider_of(self, ticket: Ticket) -> BaseProvider:
        return self._providers[ticket.deployment.provider]

    async def _spend(
        self, ticket: Ticket, call: RoutedCall, generate: Callable[[], Awaitable[A]]
    ) -> A | None:
        used: int | None = None
        try:
            answer = await generate()
            used = answer.usage.total_tokens or None
            self.note_answer(ticket, answer)
        except ManusError as error:
            used = tokens_of_failure(error)
            classified = self.note_error(ticket, call, error)
            if classified is error:
                raise
            raise classified from error
        except asyncio.CancelledError:
            self.note_given_up(ticket, call)
            raise
        finally:
            await self._admission.leave(ticket, used)
        if call.answered:
            call.note_hedged_away(ticket.deployment, ticket.started, ticket.index)
            return None
        call.answered = True
        return self.billed(answer, ticket)

    def billed(self, answer: A, ticket: Ticket) -> A:
        """The answer with its price, and which try of its call it was."""
        price = self._prices.price(answer)
        told: dict[str, Any] = {
            "cost_usd": price.cost_usd,
            "cost_source": price.source,
            "price_version": price.version,
            "try_index": ticket.index,
        }
        return answer.model_copy(update=told)

    def note_answer(self, ticket: Ticket, answer: Completion | Embeddings) -> None:
        now = time.monotonic()
        ticket.judged = True
        ticket.health.breaker.note_answer(now, probe=ticket.probe)
        ticket.health.note_answer(
            answer.latency_seconds,
            answer.usage.output_tokens,
            now,
            answer.time_to_first_token_seconds,
        )

    def note_error(self, ticket: Ticket, call: RoutedCall, error: ManusError) -> ManusError:
        """Learns from it, tells the caller of it, and returns it classified."""
        now = time.monotonic()
        ticket.judged = True
        ticket.health.breaker.note_error(error, now, probe=ticket.probe)
        ticket.health.note_error(error, now)
        deployment = ticket.deployment
        window = self._prices.context_window(deployment.provider, deployment.model)
        classified = call.classify(error, deployment, window)
        call.note_failure(deployment, classified, ticket.started, ticket.index)
        return classified

    def note_given_up(self, ticket: Ticket, call: RoutedCall) -> None:
        """Only a lost race tells something: a caller who goes away does it for his own reasons."""
        if call.answered:
            now = time.monotonic()
            ticket.health.note_given_up(now - ticket.started, now)
            call.note_hedged_away(ticket.deployment, ticket.started, ticket.index)


def tokens_of_failure(error: ManusError) -> int | None:
    """None were used where the request was not even begun; else it is not known."""
    return 0 if isinstance(error, (ProviderRejectedError, RateLimitedError)) else None
