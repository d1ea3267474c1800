"""One try at one deployment, and what is learned from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.completion import Completion
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
        used: int | None = None
        try:
            answer = await self._generate(ticket, call)
            used = answer.usage.total_tokens or None
            self._note_answer(ticket, answer)
        except ManusError as error:
            used = 0 if isinstance(error, (ProviderRejectedError, RateLimitedError)) else None
            classified = self._note_error(ticket, call, error)
            if classified is error:
                raise
            raise classified from error
        except asyncio.CancelledError:
            self._note_given_up(ticket, call)
            raise
        finally:
            await self._admission.leave(ticket, used)
        if call.answered:
            call.note_hedged_away(ticket.deployment, ticket.started, ticket.index)
            return None
        call.answered = True
        return answer.model_copy(update={"cost_usd": self._prices.cost_usd(answer)})

    async def _generate(self, ticket: Ticket, call: RoutedCall) -> Completion:
        provider = self._providers[ticket.deployment.provider]
        return await provider.generate_completion(
            call.next_request(), model=ticket.deployment.model
        )

    def _note_answer(self, ticket: Ticket, answer: Completion) -> None:
        now = time.monotonic()
        ticket.judged = True
        ticket.health.breaker.note_answer(now, probe=ticket.probe)
        ticket.health.note_answer(
            answer.latency_seconds,
            answer.usage.output_tokens,
            now,
            answer.time_to_first_token_seconds,
        )

    def _note_error(self, ticket: Ticket, call: RoutedCall, error: ManusError) -> ManusError:
        now = time.monotonic()
        ticket.judged = True
        ticket.health.breaker.note_error(error, now, probe=ticket.probe)
        ticket.health.note_error(error, now)
        deployment = ticket.deployment
        window = self._prices.context_window(deployment.provider, deployment.model)
        classified = call.classify(error, deployment, window)
        call.note_failure(deployment, classified, ticket.started, ticket.index)
        return classified

    def _note_given_up(self, ticket: Ticket, call: RoutedCall) -> None:
        """Only a lost race tells something: a caller who goes away does it for his own reasons."""
        if call.answered:
            now = time.monotonic()
            ticket.health.note_given_up(now - ticket.started, now)
            call.note_hedged_away(ticket.deployment, ticket.started, ticket.index)
