"""A provider together with one of its models: what a route is a list of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.errors import ConfigError
from core.settings import ProviderKind

DEFAULT_MODELS: Mapping[ProviderKind, str] = MappingProxyType(
    {
        "openai": "gpt-6-sol",
        "anthropic": "claude-sonnet-5-5",
        "local": "smollm2-135m-instruct",
    }
)
"""What a provider answers with where neither the configuration nor the route names a model."""


@dataclass(frozen=True, slots=True)
class Deployment:
    provider: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider}:{self.model}"


def parse_deployment(text: str, models: Mapping[str, str], *, place: str) -> Deployment:
    """A deployment from ``provider`` or ``provider:model``.

    ``models`` has the model of each known provider; ``place`` says in an error where ``text``
    stands.

    Raises:
        ConfigError: no provider of that name.
    """
    provider, _, model = text.partition(":")
    if provider not in models:
        known = ", ".join(sorted(models)) or "none"
        raise ConfigError(f"{place}: no provider '{provider}' (known: {known})")
    return Deployment(provider, model or models[provider])
