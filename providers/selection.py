"""The deployments that may answer a request, in the order to ask them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from core.completion import Completion, CompletionRequest, StopReason, TokenUsage
from core.errors import ContextOverflowError, ProviderRejectedError
from core.ports import CallEstimate
from providers.base import BaseProvider
from providers.capabilities import capabilities_of, missing, needs_of
from providers.deployment import Deployment
from providers.generous import generous_request_tokens
from providers.health import HealthBook
from providers.route import Route, Routing
from providers.routed_call import RoutedCall
from providers.strategies import LEARNED, PRICED, STRATEGIES, Candidate, Choice

if TYPE_CHECKING:
    from providers.prices import PriceBook

_REMEMBERED_PRICES = 1024


class Selection:
    """Filters by what a model can take and how much, then orders by the route's strategy."""

    def __init__(
        self,
        routing: Routing,
        healths: HealthBook,
        providers: Mapping[str, BaseProvider],
        prices: PriceBook,
    ) -> None:
        self._routing = routing
        self._healths = healths
        self._providers = providers
        self._prices = prices
        self._costs: dict[tuple[Deployment, int, int], Decimal | None] = {}

    def select(self, route: Route, call: RoutedCall, maker: str | None) -> list[Deployment]:
        """Of the route and its fallbacks, each once; those of the provider ``maker`` first.

        Raises:
            ProviderRejectedError: no deployment can take what the request holds.
        """
        ordered: dict[Deployment, None] = {}
        for one in self._routing.chain(route):
            ordered |= dict.fromkeys(self._ordered(one, call))
        fitting = [d for d in self._capable(list(ordered), call) if self._fits(d, call)]
        return sorted(fitting, key=lambda d: d.provider != maker) if maker else fitting

    def smallest_window(self, route: Route) -> int | None:
        """Among those of the route's own deployments that are known."""
        windows = [self._prices.context_window(d.provider, d.model) for d in route.deployments]
        return min((w for w in windows if w is not None), default=None)

    def estimate(self, route: Route, request: CompletionRequest) -> CallEstimate:
        """Of a request that has not been sent, at the highest known price of who may answer."""
        read = generous_request_tokens(request)
        deployments = [d for one in self._routing.chain(route) for d in one.deployments]
        usual = max(self._healths.of(d.name).expected_output_tokens for d in deployments)
        written = request.max_output_tokens or round(usual)
        costs = [self._prices.cost_usd(_imagined(d, read, written)) for d in deployments]
        known = [cost for cost in costs if cost is not None]
        return CallEstimate(
            input_tokens=read, output_tokens=written, cost_usd=max(known, default=None)
        )

    def _ordered(self, route: Route, call: RoutedCall) -> list[Deployment]:
        if route.strategy == "priority" or len(route.deployments) < 2:
            return list(route.deployments)
        candidates = [self._candidate(d, route, call) for d in route.deployments]
        choice = Choice(next(route.turns), route.random)
        return [c.deployment for c in STRATEGIES[route.strategy](candidates, choice)]

    def _candidate(self, deployment: Deployment, route: Route, call: RoutedCall) -> Candidate:
        weight = route.weights.get(deployment, 1.0)
        if route.strategy not in LEARNED | PRICED:
            return Candidate(deployment, weight)
        now = time.monotonic()
        health = self._healths.of(deployment.name)
        priced = route.strategy in PRICED
        output = call.request.max_output_tokens or health.expected_output_tokens
        good, bad = health.counts(now)
        return Candidate(
            deployment=deployment,
            weight=weight,
            expected_cost_usd=self._cost(deployment, call, output) if priced else None,
            expected_seconds=health.latency.expected_seconds(health.expected_output_tokens, now),
            in_flight=health.in_flight,
            successes=good,
            failures=bad,
        )

    def _cost(self, deployment: Deployment, call: RoutedCall, output: float) -> Decimal | None:
        """Of about so many tokens: counting and looking a price up would cost more than the rest.

        Four characters to a token are near enough, since every deployment is measured alike.
        """
        read, written = _roughly(call.chars / 4), _roughly(output)
        key = (deployment, read, written)
        if key not in self._costs:
            if len(self._costs) >= _REMEMBERED_PRICES:
                self._costs.clear()
            self._costs[key] = self._prices.cost_usd(_imagined(*key))
        return self._costs[key]

    def _capable(self, ordered: Sequence[Deployment], call: RoutedCall) -> list[Deployment]:
        needs = needs_of(call.request)
        if not (needs.vision or needs.tools or needs.json_schema):
            return list(ordered)
        overrides = self._routing.capabilities
        lacks = {d: missing(needs, capabilities_of(d, overrides)) for d in ordered}
        capable = [d for d in ordered if not lacks[d]]
        if capable:
            return capable
        # The local model says in words what it cannot see, and does what it can.
        if local := [d for d in ordered if self._providers[d.provider].runs_here]:
            return local
        problems = "; ".join(f"{d.name} cannot take {lack}" for d, lack in lacks.items())
        raise ProviderRejectedError(f"route '{call.request.route}': {problems}")

    def _fits(self, deployment: Deployment, call: RoutedCall) -> bool:
        window = self._prices.context_window(deployment.provider, deployment.model)
        try:
            call.check_fit(deployment, window)
        except ContextOverflowError as error:
            call.note_unfit(deployment, error)
            return False
        return True


def _roughly(tokens: float) -> int:
    """The next power of two."""
    return 1 << max(0, round(tokens) - 1).bit_length()


def _imagined(deployment: Deployment, read: int, written: int) -> Completion:
    return Completion(
        parts=(),
        stop_reason=StopReason.END,
        provider=deployment.provider,
        deployment=deployment.name,
        model=deployment.model,
        usage=TokenUsage(input_tokens=read, output_tokens=written),
    )
