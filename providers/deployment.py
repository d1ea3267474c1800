"""A provider together with one of its models: what a route is a list of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.errors import ConfigError
from core.provider_settings import ProviderKind
from providers.profiles import load_profiles

DEFAULT_MODELS: Mapping[ProviderKind, str] = MappingProxyType(
    {
        "anthropic": "claude-sonnet-5-5",
        # A profile that routes from any commercial region; its model cannot be called directly.
        "bedrock": "global.anthropic.claude-sonnet-5-5",
        "gemini": "gemini-3.8-flash",
        "local": "smollm2-135m-instruct",
        **{kind: p.model for kind, p in load_profiles().items() if p.model},
    }
)
"""What a provider answers with where neither the configuration nor the route names a model.

A kind that is not here has no model that it could be assumed to serve.
"""


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
