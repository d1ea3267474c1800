"""Settings that point any kind of provider at a scripted server."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from core.provider_settings import ProviderKind, ProviderSettings
from providers.base import BaseProvider
from providers.deployment import DEFAULT_MODELS
from providers.factory import create_provider
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer

MODELS: Mapping[ProviderKind, str] = MappingProxyType(
    {**DEFAULT_MODELS, "azure": "gpt-6-sol", "vllm": "house-model"}
)
"""A model for every kind, also for those that have none of their own."""


def settings_of(kind: ProviderKind, server: FakeModelServer, **more: Any) -> ProviderSettings:
    """With the key ``KIND-key``. Azure's classic API is spoken unless ``api_version`` is ``v1``."""
    places: dict[str, dict[str, Any]] = {
        "local": {},
        "anthropic": {"base_url": server.anthropic_url},
        "gemini": {"base_url": server.google_url},
        "azure": {"base_url": server.azure_url, "api_version": "2024-10-21"},
        "bedrock": {"base_url": server.bedrock_url, "region": "us-east-1", "api_key": None},
    }
    place = places.get(kind, {"base_url": server.openai_url})
    key = SecretStr(f"{kind}-key")
    values: dict[str, Any] = {"kind": kind, "api_key": key, **place, **more}
    return ProviderSettings(**values)


def provider_of(
    kind: ProviderKind, server: FakeModelServer, *, name: str | None = None, **more: Any
) -> BaseProvider:
    """A provider that is asked for with a model of ``MODELS``; to be closed."""
    return create_provider(name or kind, settings_of(kind, server, **more), credentials())
