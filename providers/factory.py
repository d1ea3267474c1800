"""Providers and routes from the configuration, or from the keys that are set.

Importing this module is cheap; an SDK is imported when its provider is made.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from core.errors import ConfigError, EnvironmentUnusableError
from core.settings import Credentials, ProviderKind, ProviderSettings, Settings
from providers.base import BaseProvider
from providers.deployment import DEFAULT_MODELS, Deployment, parse_deployment
from providers.local_engine import find_weights
from providers.router import DeploymentRouter, RouterLimits

DEFAULT_ROUTE = "default"


def create_provider(
    name: str, settings: ProviderSettings, credentials: Credentials
) -> BaseProvider:
    """The provider of one ``[providers.NAME]``; key and base URL default to the environment's.

    Raises:
        ConfigError: it has no key, or the local model cannot run here.
    """
    resolved = resolve_settings(name, settings, credentials)
    if resolved.kind == "openai":
        from providers.openai_chat import OpenAIChatProvider

        return OpenAIChatProvider(name, resolved)
    if resolved.kind == "anthropic":
        from providers.anthropic_messages import AnthropicMessagesProvider

        return AnthropicMessagesProvider(name, resolved)
    try:
        from providers.local_gguf import LocalGgufProvider

        return LocalGgufProvider(name, resolved)
    except EnvironmentUnusableError as error:
        raise ConfigError(f"provider '{name}': {error.message}") from error


def build_router(settings: Settings, *, limits: RouterLimits | None = None) -> DeploymentRouter:
    """The router of a process, with all its providers made and everything heavy imported.

    Without ``[providers]`` those whose keys are set are the route ``default``, OpenAI first; with
    no key at all it is the local model. With ``[providers]`` and no route of that name, it is what
    is configured there, in that order: a key in the environment adds nothing to it, but can be
    asked for as ``provider:model``.

    Raises:
        ConfigError: names the variable, provider or route that is wrong or missing.
    """
    if not settings.providers:
        _check_base_urls(settings.credentials)
    configured = settings.providers or _from_keys(settings.credentials) or _only_local()
    known = {**_from_keys(settings.credentials), **configured}
    if not any(p.kind == "local" for p in known.values()) and local_model_problem() is None:
        known["local"] = ProviderSettings(kind="local")
    models = {name: p.model or DEFAULT_MODELS[p.kind] for name, p in known.items()}
    routes = _routes(settings, tuple(configured), models)
    # It and the SDKs take their time to import: here, not during the first call.
    from providers.prices import PriceBook

    resolved = {n: resolve_settings(n, p, settings.credentials) for n, p in known.items()}
    providers = {n: create_provider(n, p, settings.credentials) for n, p in resolved.items()}
    return DeploymentRouter(providers, routes, PriceBook(resolved), models=models, limits=limits)


def resolve_settings(
    name: str, settings: ProviderSettings, credentials: Credentials
) -> ProviderSettings:
    """The settings with the key and the base URL that will be used.

    Raises:
        ConfigError: there is no key.
    """
    if settings.kind == "local":
        return settings
    key, base_url = _from_environment(settings.kind, credentials)
    key = settings.api_key or key
    if key is None:
        variable = f"{settings.kind.upper()}_API_KEY"
        raise ConfigError(f"provider '{name}': set {variable}, or [providers.{name}] api_key")
    found = {"api_key": key, "base_url": settings.base_url or base_url}
    return settings.model_copy(update=found)


def local_model_problem() -> str | None:
    """Why the local model cannot run here, ``None`` if it can."""
    try:
        find_weights()
    except EnvironmentUnusableError as error:
        return error.message
    return None


def _from_environment(
    kind: ProviderKind, credentials: Credentials
) -> tuple[SecretStr | None, str | None]:
    """The key and base URL of the SDK's own variables; set to nothing is not set."""
    openai = kind == "openai"
    key = credentials.openai_api_key if openai else credentials.anthropic_api_key
    base_url = credentials.openai_base_url if openai else credentials.anthropic_base_url
    usable = key is not None and bool(key.get_secret_value().strip())
    return (key if usable else None), base_url or None


def _from_keys(credentials: Credentials) -> dict[str, ProviderSettings]:
    kinds: tuple[ProviderKind, ...] = ("openai", "anthropic")
    return {
        kind: ProviderSettings(kind=kind)
        for kind in kinds
        if _from_environment(kind, credentials)[0]
    }


def _only_local() -> dict[str, ProviderSettings]:
    if problem := local_model_problem():
        variables = "OPENAI_API_KEY or ANTHROPIC_API_KEY"
        raise ConfigError(f"no model provider: set {variables} ({problem})")
    return {"local": ProviderSettings(kind="local")}


def _routes(
    settings: Settings, default: tuple[str, ...], models: Mapping[str, str]
) -> dict[str, tuple[Deployment, ...]]:
    wanted = {name: route.deployments for name, route in settings.routes.items()}
    wanted.setdefault(DEFAULT_ROUTE, default)
    return {
        name: tuple(parse_deployment(d, models, place=f"[routes.{name}]") for d in deployments)
        for name, deployments in wanted.items()
    }


def _check_base_urls(credentials: Credentials) -> None:
    """An address without a key would be ignored, and the calls would go somewhere else."""
    kinds: tuple[ProviderKind, ...] = ("openai", "anthropic")
    for kind in kinds:
        key, base_url = _from_environment(kind, credentials)
        if base_url and not key:
            prefix = kind.upper()
            raise ConfigError(f"{prefix}_BASE_URL is set, but {prefix}_API_KEY is not")
