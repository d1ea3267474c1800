"""Keys and addresses for providers over a scripted server."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from core.provider_settings import Credentials

NOTHING: dict[str, Any] = dict.fromkeys(Credentials.model_fields)
"""Every variable as if it were not set, whatever this process's environment says."""


def credentials(
    openai: str | None = None, anthropic: str | None = None, **more: str
) -> Credentials:
    """A key for every address given, and nothing else but ``more``, by the names of the fields."""
    values: dict[str, Any] = {
        "openai_api_key": SecretStr("openai-key") if openai else None,
        "openai_base_url": openai,
        "anthropic_api_key": SecretStr("anthropic-key") if anthropic else None,
        "anthropic_base_url": anthropic,
    }
    given: dict[str, Any] = NOTHING | values | more
    return Credentials(**given)
