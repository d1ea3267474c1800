"""The kinds of providers: what makes one, and where its key and address come from.

Another kind is another entry of ``kinds``, and its name in ``core.settings.ProviderKind``; with a
table in ``profiles.toml`` where it is a service behind the openai SDK.
Importing this module is cheap; an SDK is imported when a provider of its kind is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from core.errors import ConfigError, EnvironmentUnusableError
from core.provider_settings import Credentials, ProviderKind, ProviderSettings
from providers.base import BaseProvider
from providers.profiles import Profile, load_profiles, ollama_base_url

Maker = Callable[[str, ProviderSettings], BaseProvider]


def _as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of provider.

    ``key``, ``address``, ``deployment``, ``api_version`` and ``needed`` name environment variables,
    each of which is a field of ``Credentials`` in small letters. With all of ``needed`` set, the
    environment configures the kind; with none named it never does.
    """

    make: Maker
    key: str | None = None
    address: str | None = None
    deployment: str | None = None
    api_version: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    base_url: str | None = None
    needs_key: bool = True
    needs_address: bool = False
    read_address: Callable[[str], str] = _as_it_is

    def is_configured(self, credentials: Credentials) -> bool:
        """Whether the environment alone says all that a provider of this kind needs."""
        return bool(self.needed) and all(_read(credentials, name) for name in self.needed)

    def check_variables(self, credentials: Credentials) -> None:
        """Refuses half a configuration, which would be ignored without a word.

        Raises:
            ConfigError: names a variable that is set and one that is missing.
        """
        own = (*self.needed, *([self.address] if self.address and self.needed else []))
        given = [name for name in own if _read(credentials, name)]
        missing = [name for name in self.needed if name not in given]
        if given and missing:
            raise ConfigError(f"{given[0]} is set, but {missing[0]} is not")

    def resolve(
        self, name: str, settings: ProviderSettings, credentials: Credentials
    ) -> ProviderSettings:
        """The settings with the key, the address, the model and the version that will be used.

        ``model`` stays ``None`` where nobody says one.

        Raises:
            ConfigError: the key or the address is missing.
        """
        address = _read(credentials, self.address)
        found: dict[str, Any] = {
            "api_key": settings.api_key or _secret(credentials, self.key),
            "base_url": settings.base_url
            or (self.read_address(address) if address else self.base_url),
            "model": settings.model or _read(credentials, self.deployment),
            "api_version": settings.api_version
            or next(filter(None, (_read(credentials, v) for v in self.api_version)), None),
        }
        if self.needs_key and found["api_key"] is None:
            raise _missing(name, self.key, "api_key")
        if self.needs_address and found["base_url"] is None:
            raise _missing(name, self.address, "base_url")
        return settings.model_copy(update=found)


class _BedrockKind(Kind):
    """Its credentials stay where boto3 finds them, and are only looked for to know of them."""

    __slots__ = ()

    def is_configured(self, credentials: Credentials) -> bool:
        keys = ("AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE")
        found = any(_read(credentials, name) for name in keys)
        return found and _aws_region(credentials) is not None

    def resolve(
        self, name: str, settings: ProviderSettings, credentials: Credentials
    ) -> ProviderSettings:
        if settings.api_key is not None:
            problem = "has no api_key: set AWS_BEARER_TOKEN_BEDROCK or other credentials of AWS"
            raise ConfigError(f"provider '{name}' {problem}")
        found = super().resolve(name, settings, credentials)
        return found.model_copy(update={"region": settings.region or _aws_region(credentials)})


@cache
def kinds() -> Mapping[ProviderKind, Kind]:
    """Every kind, in the order in which keys of the environment make a route."""
    profiles = load_profiles()
    table: dict[ProviderKind, Kind] = {
        "openai": _from_profile(profiles["openai"]),
        "openai_responses": _from_profile(profiles["openai_responses"]),
        "anthropic": _anthropic(),
        "azure": _from_profile(profiles["azure"]),
        "bedrock": _BedrockKind(
            make=_make_bedrock, address="AWS_ENDPOINT_URL_BEDROCK_RUNTIME", needs_key=False
        ),
        "google": _from_profile(profiles["google"]),
        # The key alone means the kind before it: one key is one part of a route.
        "gemini": Kind(make=_make_gemini, key="GEMINI_API_KEY", address="GOOGLE_GEMINI_BASE_URL"),
        "openrouter": _from_profile(profiles["openrouter"]),
        "groq": _from_profile(profiles["groq"]),
        "deepseek": _from_profile(profiles["deepseek"]),
        "ollama": _from_profile(profiles["ollama"], read_address=ollama_base_url),
        "vllm": _from_profile(profiles["vllm"]),
        "local": Kind(make=_make_local, needs_key=False),
    }
    return MappingProxyType(table)


def _anthropic() -> Kind:
    return Kind(
        make=_make_anthropic,
        key="ANTHROPIC_API_KEY",
        address="ANTHROPIC_BASE_URL",
        needed=("ANTHROPIC_API_KEY",),
    )


def _from_profile(profile: Profile, read_address: Callable[[str], str] = _as_it_is) -> Kind:
    makers: Mapping[str, Maker] = {
        "chat": _make_chat,
        "responses": _make_responses,
        "azure": _make_azure,
    }
    return Kind(
        make=makers[profile.endpoint],
        key=profile.key,
        address=profile.address,
        deployment=profile.deployment,
        api_version=profile.api_version,
        needed=profile.needed,
        base_url=profile.base_url,
        needs_key=not profile.keyless,
        needs_address=profile.base_url is None,
        read_address=read_address,
    )


def _make_chat(name: str, settings: ProviderSettings) -> BaseProvider:
    from providers.openai_chat import OpenAIChatProvider

    return OpenAIChatProvider(name, settings)


def _make_responses(name: str, settings: ProviderSettings) -> BaseProvider:
    from providers.openai_responses import OpenAIResponsesProvider

    return OpenAIResponsesProvider(name, settings)


def _make_azure(name: str, settings: ProviderSettings) -> BaseProvider:
    from providers.azure_openai import AzureOpenAIProvider

    return AzureOpenAIProvider(name, settings)


def _make_anthropic(name: str, settings: ProviderSettings) -> BaseProvider:
    from providers.anthropic_messages import AnthropicMessagesProvider

    return AnthropicMessagesProvider(name, settings)


def _make_gemini(name: str, settings: ProviderSettings) -> BaseProvider:
    from providers.google_gemini import GeminiProvider

    return GeminiProvider(name, settings)


def _make_bedrock(name: str, settings: ProviderSettings) -> BaseProvider:
    from providers.bedrock_converse import BedrockConverseProvider

    return BedrockConverseProvider(name, settings)


def _make_local(name: str, settings: ProviderSettings) -> BaseProvider:
    from providers.local_gguf import LocalGgufProvider

    try:
        return LocalGgufProvider(name, settings)
    except EnvironmentUnusableError as error:
        raise ConfigError(f"provider '{name}': {error.message}") from error


def _missing(name: str, variable: str | None, key: str) -> ConfigError:
    option = f"[providers.{name}] {key}"
    either = f"{variable}, or {option}" if variable else option
    return ConfigError(f"provider '{name}': set {either}")


def _aws_region(credentials: Credentials) -> str | None:
    """AWS_REGION, which the other SDKs of AWS read and boto3 does not, goes first."""
    return _read(credentials, "AWS_REGION") or _read(credentials, "AWS_DEFAULT_REGION")


def _read(credentials: Credentials, variable: str | None) -> str | None:
    """The value of a variable; set to nothing is not set."""
    value = getattr(credentials, variable.lower()) if variable else None
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return text.strip() or None if text else None


def _secret(credentials: Credentials, variable: str | None) -> SecretStr | None:
    text = _read(credentials, variable)
    return SecretStr(text) if text else None
