"""What can be configured of providers and routes."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.base import Slug, Value, is_object

ProviderKind = Literal[
    "openai",
    "openai_responses",
    "anthropic",
    "azure",
    "bedrock",
    "google",
    "gemini",
    "openrouter",
    "groq",
    "deepseek",
    "ollama",
    "vllm",
    "local",
]
StrategyName = Literal[
    "priority", "round_robin", "random", "weighted", "least_cost", "latency", "adaptive"
]


class ProviderSettings(Value):
    """``[providers.NAME]``. What is not set here comes from the vendor's own variables.

    ``kind`` may be left out where the name is one. ``model`` is what the provider answers with
    when a route names it without a model. ``api_version`` is Azure's; without one its v1 API is
    spoken. ``region`` is of AWS, whose credentials boto3 finds by itself. ``temperature`` is for
    requests that name none; models that fix it are not sent one.
    """

    kind: ProviderKind
    model: str | None = None
    api_key: SecretStr | None = None
    base_url: str | None = None
    api_version: str | None = None
    region: str | None = None
    timeout_seconds: float = Field(default=120.0, gt=0)
    max_output_tokens: int = Field(default=8192, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    input_usd_per_million: Decimal | None = Field(default=None, ge=0)
    output_usd_per_million: Decimal | None = Field(default=None, ge=0)


class RouteSettings(Value):
    """``[routes.NAME]``: deployments as ``provider`` or ``provider:model``, tried by ``strategy``.

    A deployment may also be written ``{ deployment = "provider:model", weight = 2 }``; what is left
    out weighs 1. ``fallbacks`` are routes asked when none here is ready. Calls that wait for a rate
    limit go by ``queue_priority``, the highest first. ``hedge_after_seconds`` asks a second
    deployment when the first is slow: after so long, or past ``p95`` of what it took lately.
    ``cache_ttl_seconds`` keeps the route's answers and gives them again to the same question for so
    long; without it nothing is kept.
    """

    deployments: tuple[str, ...] = Field(min_length=1)
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    strategy: StrategyName = "priority"
    fallbacks: tuple[Slug, ...] = ()
    hedge_after_seconds: Annotated[float, Field(gt=0)] | Literal["p95"] | None = None
    queue_priority: int = 0
    cache_ttl_seconds: float | None = Field(default=None, gt=0)
    seed: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _split_weights(cls, data: Any) -> Any:
        given: Any = data
        if not is_object(given) or not isinstance(given.get("deployments"), (list, tuple)):
            return given
        names, weights = _names_and_weights(given["deployments"])
        weighed = {"weights": {**given.get("weights", {}), **weights}} if weights else {}
        return {**given, "deployments": names, **weighed}

    @model_validator(mode="after")
    def _weigh_what_is_there(self) -> Self:
        if self.weights and self.strategy != "weighted":
            raise ValueError("weights need strategy = 'weighted'")
        if strangers := self.weights.keys() - set(self.deployments):
            raise ValueError(f"a weight for '{min(strangers)}', which is not in deployments")
        return self


def _names_and_weights(entries: Iterable[Any]) -> tuple[list[Any], dict[str, Any]]:
    names: list[Any] = []
    weights: dict[str, Any] = {}
    for entry in entries:
        names.append(entry["deployment"] if is_object(entry) and "deployment" in entry else entry)
        if is_object(entry) and "deployment" in entry:
            if unknown := entry.keys() - {"deployment", "weight"}:
                raise ValueError(f"deployments: unknown key '{min(unknown)}'")
            weights[str(entry["deployment"])] = entry.get("weight", 1.0)
    return names, weights


class CacheSettings(Value):
    """``[cache]``: where answers and steps that may be used again are kept.

    Another ``namespace`` begins with nothing kept. With ``redis_url`` answers are kept there, for
    every machine that uses it; without, in MANUS_HOME. ``max_mib`` bounds the answers in
    MANUS_HOME, ``max_files_mib`` the files of steps; what was used least recently goes first.
    ``redis_timeout_seconds`` is how long Redis may take before a call goes on without it.
    """

    namespace: Slug = "default"
    redis_url: SecretStr | None = None
    redis_timeout_seconds: float = Field(default=0.5, gt=0, le=10)
    max_mib: int = Field(default=256, ge=1)
    max_files_mib: int = Field(default=1024, ge=1)

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        scheme = url.get_secret_value().partition("://")[0] if url else "redis"
        if scheme not in ("redis", "rediss", "unix"):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url


class RateLimits(Value):
    """``[limits."provider:model"]`` or ``[limits.provider]`` over all its models: per minute."""

    rpm: int | None = Field(default=None, gt=0)
    tpm: int | None = Field(default=None, gt=0)


class CapabilitySettings(Value):
    """``[capabilities."provider:model"]`` or ``[capabilities.provider]``, over what is assumed."""

    vision: bool | None = None
    tools: bool | None = None
    json_schema: bool | None = None


class Credentials(BaseSettings):
    """The vendors' standard variables."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str | None = None
    azure_openai_api_key: SecretStr | None = None
    azure_openai_endpoint: str | None = None
    azure_openai_deployment: str | None = None
    azure_openai_api_version: str | None = None
    openai_api_version: str | None = None
    aws_access_key_id: SecretStr | None = None
    aws_bearer_token_bedrock: SecretStr | None = None
    aws_profile: str | None = None
    aws_region: str | None = None
    aws_default_region: str | None = None
    aws_endpoint_url_bedrock_runtime: str | None = None
    gemini_api_key: SecretStr | None = None
    google_gemini_base_url: str | None = None
    openrouter_api_key: SecretStr | None = None
    groq_api_key: SecretStr | None = None
    deepseek_api_key: SecretStr | None = None
    ollama_host: str | None = None
    brave_api_key: SecretStr | None = None
    tavily_api_key: SecretStr | None = None
    serper_api_key: SecretStr | None = None
    exa_api_key: SecretStr | None = None
    google_api_key: SecretStr | None = None
    google_cse_id: str | None = None
