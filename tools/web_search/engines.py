"""Which engines are asked, and in which order."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import SecretStr

from core.errors import ConfigError
from core.provider_settings import Credentials
from core.tool_settings import SearchEngineName, SearchEngineSettings, SearchSettings
from tools.web_search import apis, result_pages
from tools.web_search.engine import SearchEngine
from tools.web_search.last_resort import DdgsEngine

_APIS: tuple[SearchEngineName, ...] = (
    "brave",
    "tavily",
    "serper",
    "google_cse",
    "exa",
    "searxng",
)


def configured_engines(settings: SearchSettings, credentials: Credentials) -> list[SearchEngine]:
    """Engines with an API first, the one named by ``engine`` before the others of them.

    Raises:
        ConfigError: ``engine`` or ``fallback_engines`` name one whose key or address is missing.
    """
    there: list[SearchEngineName] = [name for name in _APIS if _is_set(name, settings, credentials)]
    # The one that is named stands first among them.
    there.sort(key=lambda name: name != settings.engine)
    named = (settings.engine, *settings.fallback_engines)
    order: dict[SearchEngineName, bool] = {name: True for name in (*there, *named)}
    return [_made(name, settings, credentials) for name in order]


def _made(
    name: SearchEngineName, settings: SearchSettings, credentials: Credentials
) -> SearchEngine:
    own = settings.engines.get(name, SearchEngineSettings())
    pages: dict[str, Callable[[str | None], SearchEngine]] = {
        "google": result_pages.google,
        "bing": result_pages.bing,
        "baidu": result_pages.baidu,
        "duckduckgo": result_pages.duckduckgo,
    }
    if name in pages:
        return pages[name](own.base_url)
    if name == "ddgs":
        return DdgsEngine()
    if not _is_set(name, settings, credentials):
        raise ConfigError(f"[search] names the engine '{name}', but {_missing(name)}")
    return _api(name, own, credentials)


def _api(
    name: SearchEngineName, own: SearchEngineSettings, credentials: Credentials
) -> SearchEngine:
    if name == "searxng":
        return apis.searxng(own.base_url or "")
    key = _key(name, own, credentials)
    if name == "google_cse":
        return apis.google_cse(key, own.engine_id or credentials.google_cse_id or "", own.base_url)
    makers = {
        "brave": apis.brave,
        "tavily": apis.tavily,
        "serper": apis.serper,
        "exa": apis.exa,
    }
    return makers[name](key, own.base_url)


def _is_set(name: SearchEngineName, settings: SearchSettings, credentials: Credentials) -> bool:
    own = settings.engines.get(name, SearchEngineSettings())
    if name == "searxng":
        return bool(own.base_url)
    has_id = name != "google_cse" or bool(own.engine_id or credentials.google_cse_id)
    return bool(_key(name, own, credentials)) and has_id


def _key(name: SearchEngineName, own: SearchEngineSettings, credentials: Credentials) -> str:
    variables: dict[str, SecretStr | None] = {
        "brave": credentials.brave_api_key,
        "tavily": credentials.tavily_api_key,
        "serper": credentials.serper_api_key,
        "google_cse": credentials.google_api_key,
        "exa": credentials.exa_api_key,
    }
    secret = own.api_key or variables.get(name)
    return secret.get_secret_value() if secret else ""


def _missing(name: SearchEngineName) -> str:
    if name == "searxng":
        return "[search.engines.searxng] base_url is not set"
    if name == "google_cse":
        return "GOOGLE_API_KEY and GOOGLE_CSE_ID are not both set"
    return f"{name.upper()}_API_KEY is not set"
