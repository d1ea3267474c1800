"""Routes as the configuration describes them: their deployments, and where they fall back to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from core.errors import ConfigError
from core.ports import Limiter
from core.provider_settings import CapabilitySettings, RouteSettings, StrategyName
from core.settings import Settings
from providers.deployment import Deployment, parse_deployment
from providers.file_limiter import FileLimiter


@dataclass(frozen=True, slots=True)
class Route:
    """``weights`` are by deployment; what is not there weighs 1. ``turns`` counts its calls."""

    name: str
    deployments: tuple[Deployment, ...]
    weights: Mapping[Deployment, float] = field(default_factory=dict[Deployment, float])
    strategy: StrategyName = "priority"
    fallbacks: tuple[str, ...] = ()
    hedge_after_seconds: float | Literal["p95"] | None = None
    queue_priority: int = 0
    cache_ttl_seconds: float | None = None
    random: Random = field(default_factory=Random)
    turns: Iterator[int] = field(default_factory=itertools.count)


@dataclass(frozen=True, slots=True)
class Routing:
    """``models`` has each provider's default model."""

    routes: Mapping[str, Route]
    models: Mapping[str, str]
    limiter: Limiter | None = None
    capabilities: Mapping[str, CapabilitySettings] = field(
        default_factory=dict[str, CapabilitySettings]
    )

    def find(self, name: str) -> Route:
        """A route by its name, or of one deployment written as ``provider:model``.

        Raises:
            ConfigError: there is neither.
        """
        if name in self.routes:
            return self.routes[name]
        if ":" in name:
            place = f"route '{name}'"
            return Route(name, (parse_deployment(name, self.models, place=place),))
        raise ConfigError(f"no route '{name}' (known: {', '.join(sorted(self.routes))})")

    def chain(self, route: Route) -> list[Route]:
        """The route and those it falls back to, nearest first, each once."""
        found = {route.name: route}
        todo = [route]
        while todo:
            for name in todo.pop(0).fallbacks:
                if name not in found:
                    found[name] = self.find(name)
                    todo.append(found[name])
        return list(found.values())


def routing_of(
    settings: Settings,
    models: Mapping[str, str],
    *,
    default: tuple[str, tuple[str, ...]],
    limiter: Limiter | None = None,
) -> Routing:
    """The routes of a configuration, and ``default``: a name and what it has where it is not there.

    Rate limits are counted by ``limiter``, else in MANUS_HOME over all processes that use it.

    Raises:
        ConfigError: a route, a limit or a capability names what does not exist.
    """
    name, deployments = default
    wanted = dict(settings.routes)
    wanted.setdefault(name, RouteSettings(deployments=deployments))
    for section, names in (("limits", settings.limits), ("capabilities", settings.capabilities)):
        for known in names:
            parse_deployment(known, models, place=f"[{section}]")
    if limiter is None and settings.limits:
        limiter = FileLimiter(settings.home / "limits", settings.limits)
    routes = {name: _route(name, route, models) for name, route in wanted.items()}
    for route in routes.values():
        if missing := set(route.fallbacks) - routes.keys():
            raise ConfigError(f"[routes.{route.name}]: no fallback route '{min(missing)}'")
    return Routing(routes, models, limiter, settings.capabilities)


def _route(name: str, settings: RouteSettings, models: Mapping[str, str]) -> Route:
    def parsed(text: str) -> Deployment:
        return parse_deployment(text, models, place=f"[routes.{name}]")

    return Route(
        name=name,
        deployments=tuple(dict.fromkeys(parsed(text) for text in settings.deployments)),
        weights={parsed(text): weight for text, weight in settings.weights.items()},
        strategy=settings.strategy,
        fallbacks=settings.fallbacks,
        hedge_after_seconds=settings.hedge_after_seconds,
        queue_priority=settings.queue_priority,
        cache_ttl_seconds=settings.cache_ttl_seconds,
        random=Random(settings.seed),
    )
