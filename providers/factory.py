"""Providers and routes from the configuration, or from the keys that are set.

Importing this module is cheap; an SDK is imported when its provider is made.
"""

from __future__ import annotations

from core.errors import ConfigError, EnvironmentUnusableError
from core.ports import Limiter
from core.provider_settings import Credentials, ProviderSettings
from core.settings import Settings
from providers.base import BaseProvider
from providers.deployment import DEFAULT_MODELS
from providers.kinds import kinds
from providers.local_engine import find_weights
from providers.response_cache import ResponseCache
from providers.response_cache_files import FileCacheStore
from providers.response_cache_key import provider_identity
from providers.response_cache_redis import RedisCacheStore
from providers.response_cache_store import CacheStore
from providers.route import routing_of
from providers.router import DeploymentRouter, RouterLimits

DEFAULT_ROUTE = "default"


def create_provider(
    name: str, settings: ProviderSettings, credentials: Credentials
) -> BaseProvider:
    """The provider of one ``[providers.NAME]``; key and base URL default to the environment's.

    Raises:
        ConfigError: it has no key, or the local model cannot run here.
    """
    made = kinds()[settings.kind].make(name, resolve_settings(name, settings, credentials))
    made.default_temperature = settings.temperature
    return made


def build_router(
    settings: Settings, *, limits: RouterLimits | None = None, limiter: Limiter | None = None
) -> DeploymentRouter:
    """The router of a process, with all its providers made and everything heavy imported.

    Without ``[providers]`` those that the environment configures are the route ``default``, in the
    order of ``providers.kinds``; with none it is the local model. With ``[providers]`` and no route
    of that name, it is what is configured there, in that order: a key in the environment adds
    nothing to it, but can be asked for as ``provider:model``. ``limiter`` counts rate limits in the
    place of the one in MANUS_HOME.

    Raises:
        ConfigError: names the variable, provider or route that is wrong or missing.
    """
    if not settings.providers:
        _check_variables(settings.credentials)
    configured = settings.providers or _from_keys(settings.credentials) or _only_local()
    known = {**_from_keys(settings.credentials), **configured}
    if not any(p.kind == "local" for p in known.values()) and local_model_problem() is None:
        known["local"] = ProviderSettings(kind="local")
    resolved = {n: resolve_settings(n, p, settings.credentials) for n, p in known.items()}
    models = {name: _model_of(name, p) for name, p in resolved.items()}
    default = (DEFAULT_ROUTE, tuple(configured))
    routing = routing_of(settings, models, default=default, limiter=limiter)
    # It and the SDKs take their time to import: here, not during the first call.
    from providers.prices import PriceBook

    providers = {n: create_provider(n, p, settings.credentials) for n, p in resolved.items()}
    identities = {n: provider_identity(p) for n, p in resolved.items()}
    cache = ResponseCache(open_cache_store(settings), settings.cache.namespace, identities)
    return DeploymentRouter(providers, routing, PriceBook(resolved), limits=limits, cache=cache)


def open_cache_store(settings: Settings) -> CacheStore:
    """Where answers are kept: in Redis where one is configured, else in MANUS_HOME.

    Nothing is made and nobody is asked before the first use.
    """
    cache = settings.cache
    if cache.redis_url:
        return RedisCacheStore(cache.redis_url.get_secret_value(), cache.redis_timeout_seconds)
    return FileCacheStore(settings.home / "cache", cache.max_mib * 2**20)


def resolve_settings(
    name: str, settings: ProviderSettings, credentials: Credentials
) -> ProviderSettings:
    """The settings with the key, the address and the model that will be used.

    Raises:
        ConfigError: there is no key, or no address where there must be one.
    """
    return kinds()[settings.kind].resolve(name, settings, credentials)


def local_model_problem() -> str | None:
    """Why the local model cannot run here, ``None`` if it can."""
    try:
        find_weights()
    except EnvironmentUnusableError as error:
        return error.message
    return None


def _model_of(name: str, settings: ProviderSettings) -> str:
    model = settings.model or DEFAULT_MODELS.get(settings.kind)
    if model is None:
        raise ConfigError(f"provider '{name}': set [providers.{name}] model")
    return model


def _from_keys(credentials: Credentials) -> dict[str, ProviderSettings]:
    return {
        name: ProviderSettings(kind=name)
        for name, kind in kinds().items()
        if kind.is_configured(credentials)
    }


def _only_local() -> dict[str, ProviderSettings]:
    if problem := local_model_problem():
        variables = "OPENAI_API_KEY or ANTHROPIC_API_KEY, or what deployments/.env.example names"
        raise ConfigError(f"no model provider: set {variables} ({problem})")
    return {"local": ProviderSettings(kind="local")}


def _check_variables(credentials: Credentials) -> None:
    """An address without a key would be ignored, and the calls would go somewhere else."""
    for kind in kinds().values():
        kind.check_variables(credentials)
