"""The order in which a route's deployments are asked: pure policies over what is known of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from types import MappingProxyType

from core.provider_settings import StrategyName
from providers.deployment import Deployment

LEARNED: frozenset[StrategyName] = frozenset({"latency", "adaptive"})
"""Strategies that look at ``expected_seconds``, ``in_flight``, ``successes`` and ``failures``."""
PRICED: frozenset[StrategyName] = frozenset({"least_cost", "adaptive"})
"""Strategies that look at ``expected_cost_usd``."""
_UNPRICED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment and what is expected of it for one request; ``None`` is unknown.

    ``successes`` and ``failures`` are decayed counts.
    """

    deployment: Deployment
    weight: float = 1.0
    expected_cost_usd: Decimal | None = None
    expected_seconds: float | None = None
    in_flight: int = 0
    successes: float = 0.0
    failures: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What a policy may use beside the candidates: ``turn`` counts the route's calls from 0."""

    turn: int
    random: Random


Strategy = Callable[[Sequence[Candidate], Choice], list[Candidate]]


def priority(candidates: Sequence[Candidate], choice: Choice) -> list[Candidate]:
    """As configured."""
    return list(candidates)


def round_robin(candidates: Sequence[Candidate], choice: Choice) -> list[Candidate]:
    """As configured, beginning one further with each call."""
    start = choice.turn % max(1, len(candidates))
    return [*candidates[start:], *candidates[:start]]


def shuffled(candidates: Sequence[Candidate], choice: Choice) -> list[Candidate]:
    return choice.random.sample(candidates, len(candidates))


def weighted(candidates: Sequence[Candidate], choice: Choice) -> list[Candidate]:
    """First with probability by weight, the rest likewise among themselves; weight 0 comes last.

    Keys as in Efraimidis and Spirakis, weighted sampling without replacement.
    """

    def key(candidate: Candidate) -> float:
        if candidate.weight <= 0:
            return -math.inf
        return math.log(1.0 - choice.random.random()) / candidate.weight

    return sorted(candidates, key=key, reverse=True)


def least_cost(candidates: Sequence[Candidate], choice: Choice) -> list[Candidate]:
    """Cheapest first, unknown prices last; equals as configured."""
    unknown = Decimal("Infinity")
    return sorted(
        candidates,
        key=lambda c: unknown if c.expected_cost_usd is None else c.expected_cost_usd,
    )


def latency(candidates: Sequence[Candidate], choice: Choice) -> list[Candidate]:
    """The better of two taken at random, then the rest by the same measure.

    Always taking the best would send every caller to it at once. One that is not known yet counts
    as fast, so that it becomes known.
    """
    if len(candidates) < 2:
        return list(candidates)
    pair = sorted(choice.random.sample(candidates, 2), key=_load)
    rest = sorted((c for c in candidates if c is not pair[0]), key=_load)
    return [pair[0], *rest]


def adaptive(candidates: Sequence[Candidate], choice: Choice) -> list[Candidate]:
    """Thompson sampling: what may succeed, discounted by its time and its price.

    A success probability is drawn from each one's Beta posterior, so that what is little known is
    tried now and then. The discounts are square roots of the best one's share of time and price.
    """
    times = [_load(c) for c in candidates]
    costs = [c.expected_cost_usd for c in candidates]
    fastest = min((t for t in times if t > 0), default=0.0)
    known = [c for c in costs if c is not None]
    cheapest = min(known) if known else None
    scored = [
        (
            choice.random.betavariate(1 + candidate.successes, 1 + candidate.failures)
            * math.sqrt(fastest / time if time > 0 else 1.0)
            * math.sqrt(_price_share(cost, cheapest)),
            candidate,
        )
        for candidate, time, cost in zip(candidates, times, costs, strict=True)
    ]
    return [c for _, c in sorted(scored, key=lambda pair: pair[0], reverse=True)]


STRATEGIES: Mapping[StrategyName, Strategy] = MappingProxyType(
    {
        "priority": priority,
        "round_robin": round_robin,
        "random": shuffled,
        "weighted": weighted,
        "least_cost": least_cost,
        "latency": latency,
        "adaptive": adaptive,
    }
)


def _load(candidate: Candidate) -> float:
    return (candidate.expected_seconds or 0.0) * (candidate.in_flight + 1)


def _price_share(cost: Decimal | None, cheapest: Decimal | None) -> float:
    """The best price's part of this one; where no price is known none of them tells anything."""
    if cheapest is None:
        return 1.0
    if cost is None:
        return _UNPRICED_SHARE
    return float(cheapest / cost) if cost > 0 else 1.0
