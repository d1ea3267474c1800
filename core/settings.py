"""Configuration: where it is looked for, what may be in it, and who wins.

Precedence: arguments of a command, environment (``MANUS_…``, ``__`` between levels), ``.env``,
``manus.toml``, defaults. Files are looked for in MANUS_HOME, then in the project's root; never in
the directory one happens to stand in.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from dotenv import load_dotenv
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from core.base import Slug, Value, is_object
from core.errors import ConfigError
from core.usage import Budget

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ProviderKind = Literal[
    "openai",
    "openai_responses",
    "anthropic",
    "azure",
    "bedrock",
    "google",
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
    spoken. ``region`` is of AWS, whose credentials boto3 finds by itself.
    """

    kind: ProviderKind
    model: str | None = None
    api_key: SecretStr | None = None
    base_url: str | None = None
    api_version: str | None = None
    region: str | None = None
    timeout_seconds: float = Field(default=120.0, gt=0)
    max_output_tokens: int = Field(default=8192, gt=0)
    input_usd_per_million: Decimal | None = Field(default=None, ge=0)
    output_usd_per_million: Decimal | None = Field(default=None, ge=0)


class RouteSettings(Value):
    """``[routes.NAME]``: deployments as ``provider`` or ``provider:model``, tried by ``strategy``.

    A deployment may also be written ``{ deployment = "provider:model", weight = 2 }``; what is left
    out weighs 1. ``fallbacks`` are routes asked when none here is ready. Calls that wait for a rate
    limit go by ``queue_priority``, the highest first. ``hedge_after_seconds`` asks a second
    deployment when the first is slow: after so long, or past ``p95`` of what it took lately.
    """

    deployments: tuple[str, ...] = Field(min_length=1)
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    strategy: StrategyName = "priority"
    fallbacks: tuple[Slug, ...] = ()
    hedge_after_seconds: Annotated[float, Field(gt=0)] | Literal["p95"] | None = None
    queue_priority: int = 0
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


class RateLimits(Value):
    """``[limits."provider:model"]`` or ``[limits.provider]`` over all its models: per minute."""

    rpm: int | None = Field(default=None, gt=0)
    tpm: int | None = Field(default=None, gt=0)


class CapabilitySettings(Value):
    """``[capabilities."provider:model"]`` or ``[capabilities.provider]``, over what is assumed."""

    vision: bool | None = None
    tools: bool | None = None
    json_schema: bool | None = None


class SandboxSettings(Value):
    """``[sandbox]``. Sizes are MiB, over the whole process tree of one tool run."""

    backend: Literal["auto", "bubblewrap", "sandlock", "rlimits"] = "auto"
    allow_unsafe: bool = False
    timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    memory_mib: int = Field(default=1024, ge=64)
    disk_mib: int = Field(default=512, ge=1)
    max_processes: int = Field(default=64, ge=4)
    max_output_bytes: int = Field(default=256_000, ge=1000)


class RunSettings(Value):
    """``[run]``. ``max_parallel_steps`` bounds one run; the budget is a default for every run."""

    max_parallel_steps: int = Field(default=16, ge=1, le=200)
    infrastructure_retries: int = Field(default=2, ge=0, le=10)
    retry_delay_seconds: float = Field(default=2.0, ge=0)
    budget: Budget = Budget()


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
    openrouter_api_key: SecretStr | None = None
    groq_api_key: SecretStr | None = None
    deepseek_api_key: SecretStr | None = None
    ollama_host: str | None = None


class Settings(BaseSettings):
    """Everything configurable; load it with ``load_settings`` and pass it down."""

    model_config = SettingsConfigDict(
        env_prefix="MANUS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path = PROJECT_ROOT / ".manus"
    providers: dict[Slug, ProviderSettings] = Field(default_factory=dict)
    routes: dict[Slug, RouteSettings] = Field(default_factory=dict)
    limits: dict[str, RateLimits] = Field(default_factory=dict)
    capabilities: dict[str, CapabilitySettings] = Field(default_factory=dict)
    sandbox: SandboxSettings = SandboxSettings()
    run: RunSettings = RunSettings()
    credentials: Credentials = Field(default_factory=Credentials)

    @field_validator("providers", mode="before")
    @classmethod
    def _kind_is_the_name(cls, providers: Any) -> Any:
        """So that ``MANUS_PROVIDERS__OPENAI__MODEL`` is enough to say another model."""
        if not is_object(providers):
            return providers
        return {name: _with_kind(name, value) for name, value in providers.items()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the arguments, which hold what ``manus.toml`` says."""
        return env_settings, init_settings


def _with_kind(name: str, value: object) -> object:
    if not is_object(value) or "kind" in value or name not in get_args(ProviderKind):
        return value
    return {"kind": name, **value}


def load_settings(home: Path | None = None) -> Settings:
    """Reads the files and the environment, once, at an entry point.

    ``.env`` is read into this process's environment (what is set there already stays), so that
    every SDK finds its own variables.

    Raises:
        ConfigError: names the file or variable, and the key.
    """
    env_file = _first_file(home or _home_from_environment(), ".env")
    if env_file:
        load_dotenv(env_file, override=False)
    place = home or _home_from_environment()
    file = _first_file(place, "manus.toml")
    values = _read_toml(file) if file else {}
    _check_environment_names()
    try:
        loaded = Settings(**values, credentials=Credentials())
    except ValidationError as error:
        raise ConfigError(f"{file or 'environment'}: {first_problem(error)}") from error
    return loaded.model_copy(update={"home": place})


def _home_from_environment() -> Path:
    return Path(os.environ.get("MANUS_HOME") or PROJECT_ROOT / ".manus").absolute()


def _first_file(home: Path, name: str) -> Path | None:
    return next((p for p in (home / name, PROJECT_ROOT / name) if p.is_file()), None)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    unknown = values.keys() - (Settings.model_fields.keys() - {"home", "credentials"})
    if unknown:
        raise ConfigError(f"{path}: unknown key '{min(unknown)}'")
    return values


def _check_environment_names() -> None:
    """A misspelt ``MANUS_…`` variable is an error: it would be ignored without a word."""
    for name in os.environ:
        first = name.removeprefix("MANUS_").split("__")[0].lower()
        if name.startswith("MANUS_") and first not in Settings.model_fields:
            raise ConfigError(f"environment: unknown variable '{name}'")


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, as ``place.in.the.data: what is wrong``."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{place}'"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}" if place else problem["msg"]
