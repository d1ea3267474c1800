"""Which deployment answers, and what happens when it does not.

A route's deployments are tried in the order of its strategy, then those of the routes it falls back
to. What may work elsewhere moves on to the next one; what the caller did wrong, or a refusal, is
not sprayed over providers. One bound holds over all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus
from core.embedding import EmbeddingRequest, Embeddings
from core.ports import CallEstimate, FailedTry, Headroom, TokenCount
from core.usage import UsageEvent
from providers.admission import Admission, Ticket
from providers.affinity import Makers
from providers.asking import Asking
from providers.base import BaseProvider
from providers.embedding_route import as_call, deployments_of_model
from providers.failover import Failover, RouterLimits
from providers.health import DeploymentSnapshot, HealthBook
from providers.response_cache import ResponseCache
from providers.route import Route, Routing
from providers.routed_call import RoutedCall
from providers.selection import Selection
from providers.streaming import OpenStream, Streaming
from providers.warm_start import feed, observations

if TYPE_CHECKING:
    # Importing the price lists takes half a second.
    from providers.prices import PriceBook


class DeploymentRouter:
    """Implements ``core.ports.Router``. Use one instance within one event loop.

    Within a conversation the provider that made its thinking or its tool calls is asked first,
    since only it can read its thinking.
    """

    def __init__(
        self,
        providers: Mapping[str, BaseProvider],
        routing: Routing,
        prices: PriceBook,
        *,
        limits: RouterLimits | None = None,
        cache: ResponseCache | None = None,
    ) -> None:
        self._providers = dict(providers)
        self._cache = cache
        self._routing = routing
        limits = limits or RouterLimits()
        self._healths = HealthBook(limits.cooldown, limits.rates)
        self._admission = Admission(self._healths, routing.limiter, limits.waits)
        self._selection = Selection(routing, self._healths, self._providers, prices)
        self._asking = Asking(self._providers, prices, self._admission)
        self._streaming = Streaming(self._asking, self._admission)
        self._failover = Failover(limits, self._admission)
        self._makers = Makers()

    @property
    def uses_only_local_model(self) -> bool:
        """Whether every route ends at the model that runs in this process."""
        used = {d.provider for route in self._routing.routes.values() for d in route.deployments}
        return bool(used) and all(self._providers[name].runs_here for name in used)

    def check_route(self, route: str) -> None:
        """Raises ConfigError, naming it, for a route that does not exist."""
        self._routing.find(route)

    def deployments_of(self, route: str) -> tuple[str, ...]:
        """Who may answer a route, its fallbacks behind its own. Raises ConfigError."""
        chain = self._routing.chain(self._routing.find(route))
        return tuple(dict.fromkeys(d.name for one in chain for d in one.deployments))

    def context_window(self, route: str) -> int | None:
        """Of the route's smallest deployment whose window is known. Raises ConfigError."""
        return self._selection.smallest_window(self._routing.find(route))

    def describe(self) -> dict[str, tuple[str, ...]]:
        """The deployments of every route, as ``provider:model``, as configured."""
        routes = self._routing.routes.items()
        return {name: tuple(d.name for d in route.deployments) for name, route in routes}

    async def get_statuses(self) -> tuple[ProviderStatus, ...]:
        """What is known of every provider, without spending anything."""
        return tuple(await asyncio.gather(*(p.get_status() for p in self._providers.values())))

    async def snapshot(self) -> tuple[DeploymentSnapshot, ...]:
        """How every deployment of the routes, and any other that was asked, is doing now."""
        for route in self._routing.routes.values():
            for deployment in route.deployments:
                self._healths.of(deployment.name)
        limiter = self._routing.limiter
        return tuple(
            [
                health.snapshot(
                    name,
                    time.monotonic(),
                    headroom=await limiter.headroom(name) if limiter else Headroom(),
                    waiting=self._admission.line.waiting_for(name),
                )
                for name, health in self._healths
            ]
        )

    def warm_start(self, events: Iterable[UsageEvent]) -> None:
        """Learns from the usage rows of earlier processes; call it once, before any call."""
        wall = datetime.now(UTC)
        feed(self._healths, observations(events, wall), wall, time.monotonic())

    async def close(self) -> None:
        """Closes every provider, and the cache. Idempotent."""
        await asyncio.gather(*(p.close() for p in self._providers.values()))
        if self._cache:
            await self._cache.close()

    async def generate_completion(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
        priority: int | None = None,
    ) -> Completion:
        """The first answer that a deployment of the request's route gives, with its cost.

        The response cache comes first, where the route or the request wants it. Where all are at
        their rate limits, ``priority`` is the place in the line, else the route's.

        Raises:
            ConfigError: there is no such route.
            ProviderRejectedError: the request itself is at fault, or was refused.
            AllDeploymentsFailedError: none answered; ``retryable`` tells whether waiting may help,
                and ``retry_after_seconds`` how long.
        """
        route = self._routing.find(request.route)

        def ask() -> Awaitable[Completion]:
            return self._ask(self._begin(request, on_failed_try, route, priority), route)

        answer = await (self._cache.answer(request, route, ask) if self._cache else ask())
        self._makers.remember(answer)
        return answer

    async def _ask(self, call: RoutedCall, route: Route) -> Completion:
        maker = self._makers.of(call.request)
        call.todo = self._selection.select(route, call, maker)
        hedging = None if maker else route
        return await self._failover.first_answer(call, hedging, self._asking.ask)

    async def generate_stream(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
        priority: int | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes, then one chunk with all of it and its cost.

        Until the first chunk is there it is asked for as by ``generate_completion``, with failover
        and hedging, and raises the same. Close it when done with it early.

        Raises:
            TruncatedStreamError: the answer broke off after it had begun. No other deployment was
                asked: what it would say could not be joined to what was said.
        """
        route = self._routing.find(request.route)

        def ask() -> AsyncGenerator[Chunk, None]:
            return self._ask_stream(self._begin(request, on_failed_try, route, priority), route)

        chunks = self._cache.stream(request, route, ask) if self._cache else ask()
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.completion:
                    self._makers.remember(chunk.completion)
                yield chunk

    async def _ask_stream(self, call: RoutedCall, route: Route) -> AsyncGenerator[Chunk, None]:
        opened: list[OpenStream] = []

        async def begin(ticket: Ticket, call: RoutedCall) -> OpenStream | None:
            stream = await self._streaming.open(ticket, call)
            opened.extend([stream] if stream else [])
            return stream

        maker = self._makers.of(call.request)
        call.todo = self._selection.select(route, call, maker)
        try:
            stream = await self._failover.first_answer(call, None if maker else route, begin)
            async with aclosing(self._streaming.read(stream, call)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            for one in opened:
                await self._streaming.close(one)

    async def generate_embeddings(
        self,
        request: EmbeddingRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
    ) -> Embeddings:
        """Vectors of the request's model, from the first of the route's deployments of it.

        Raises:
            ConfigError: there is no such route.
            UnsupportedError: the route has no deployment of that model.
            AllDeploymentsFailedError: none of them answered.
        """
        route = self._routing.find(request.route)
        call = self._begin(as_call(request), on_failed_try, route, None)
        call.todo = deployments_of_model(self._routing.chain(route), request)
        ask = partial(self._asking.embed, request=request)
        return await self._failover.first_answer(call, None, ask)

    async def count_tokens(
        self, request: CompletionRequest, *, ask_provider: bool = False
    ) -> TokenCount:
        """Input tokens at the first deployment that could take the request.

        An estimate made here, or with ``ask_provider`` the provider's own count, where it has one:
        the answer says which. Nothing is spent.

        Raises:
            ConfigError: there is no such route.
            ManusError: the provider was asked and did not answer.
        """
        route = self._routing.find(request.route)
        call = self._begin(request, None, route, None)
        call.todo = self._selection.select(route, call, self._makers.of(request))
        if not call.todo:
            raise call.failure()
        first = call.todo[0]
        counted: int | None = None
        if ask_provider:
            counted = await self._providers[first.provider].ask_token_count(
                request, model=first.model
            )
        return TokenCount(
            deployment=first.name,
            input_tokens=call.count_tokens(first.model) if counted is None else counted,
            counted_by="estimate" if counted is None else "provider",
        )

    def estimate_call(self, request: CompletionRequest) -> CallEstimate:
        """What the call may take, to set it aside; quick and on the safe side.

        Raises:
            ConfigError: there is no such route.
        """
        return self._selection.estimate(self._routing.find(request.route), request)

    def _begin(
        self,
        request: CompletionRequest,
        on_failed_try: Callable[[FailedTry], None] | None,
        route: Route,
        priority: int | None,
    ) -> RoutedCall:
        deadline = self._failover.deadline(request.timeout_seconds)
        call = RoutedCall(request, deadline, on_failed_try)
        call.priority = route.queue_priority if priority is None else priority
        self._failover.earn()
        return call
