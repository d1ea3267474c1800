"""OpenAI's models served by Azure, over chat completions.

With an API version (a date) the classic API is spoken, where the path names the deployment; with
none, or with ``v1``, the v1 API, which is OpenAI's own under another address. A model is always
the name of a deployment.
"""

from __future__ import annotations

import openai

from core.provider_settings import ProviderSettings
from providers.openai_chat import PROTOCOL, OpenAIChatProvider
from providers.openai_connection import OpenAIConnection

_V1_PATH = "/openai/v1"
_V1_VERSIONS = frozenset({"v1", "latest", "preview"})


class AzureOpenAIProvider(OpenAIChatProvider):
    """``settings`` must be resolved: with key and endpoint, as in ``https://NAME.openai.azure.com``.

    An endpoint that ends in ``/openai/v1`` is taken for the v1 API, whatever the version says.
    """

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings, _connect(name, settings))


def _connect(name: str, settings: ProviderSettings) -> OpenAIConnection:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    endpoint = (settings.base_url or "").rstrip("/")
    version = settings.api_version
    if endpoint.endswith(_V1_PATH) or version is None or version in _V1_VERSIONS:
        client = openai.AsyncOpenAI(
            api_key=key,
            base_url=endpoint.removesuffix(_V1_PATH) + _V1_PATH,
            default_query={"api-version": "preview"} if version == "preview" else None,
            max_retries=0,
            timeout=settings.timeout_seconds,
        )
    else:
        client = openai.AsyncAzureOpenAI(
            api_key=key,
            azure_endpoint=endpoint,
            api_version=version,
            max_retries=0,
            timeout=settings.timeout_seconds,
        )
    return OpenAIConnection(name, client, settings.api_key, PROTOCOL)
