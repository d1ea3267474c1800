"""Keys and addresses for providers over a scripted server."""

from __future__ import annotations

from pydantic import SecretStr

from core.settings import Credentials


def credentials(openai: str | None = None, anthropic: str | None = None) -> Credentials:
    """A key for every address given, whatever this process's environment says."""
    return Credentials(
        openai_api_key=SecretStr("openai-key") if openai else None,
        openai_base_url=openai,
        anthropic_api_key=SecretStr("anthropic-key") if anthropic else None,
        anthropic_base_url=anthropic,
    )
