"""Configuration: where it is looked for, what may be in it, and who wins.

Precedence: arguments of a command, environment (``MANUS_…``, ``__`` between levels), ``.env``,
``manus.toml``, defaults. Files are looked for in MANUS_HOME, then in the project's root; never in
the directory one happens to stand in.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from dotenv import load_dotenv
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from core.base import Slug, Value, is_object
from core.errors import ConfigError
from core.llm_settings import translate_sections
from core.provider_settings import (
    CacheSettings,
    CapabilitySettings,
    Credentials,
    ProviderKind,
    ProviderSettings,
    RateLimits,
    RouteSettings,
)
from core.run import ApprovalPolicy
from core.tool_settings import (
    BrowserSettings,
    ComputerSettings,
    CrawlSettings,
    DaytonaSettings,
    EgressSettings,
    SandboxSettings,
    SearchSettings,
    ToolsSettings,
)
from core.usage import Budget, BudgetSettings

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class RunSettings(Value):
    """``[run]``. ``max_parallel_steps`` bounds one run; the budget is a default for every run.

    ``approvals`` hold where a run does not say its own. A question to a person waits for
    ``answer_timeout_seconds``.
    """

    max_parallel_steps: int = Field(default=16, ge=1, le=200)
    infrastructure_retries: int = Field(default=2, ge=0, le=10)
    retry_delay_seconds: float = Field(default=2.0, ge=0)
    budget: Budget = Budget()
    approvals: ApprovalPolicy = ApprovalPolicy()
    answer_timeout_seconds: float = Field(default=3600.0, gt=0)


class Settings(BaseSettings):
    """Everything configurable; load it with ``load_settings`` and pass it down."""

    model_config = SettingsConfigDict(
        env_prefix="MANUS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path = PROJECT_ROOT / ".manus"
    providers: dict[Slug, ProviderSettings] = Field(default_factory=dict)
    routes: dict[Slug, RouteSettings] = Field(default_factory=dict)
    limits: dict[str, RateLimits] = Field(default_factory=dict)
    limits_backend: Literal["file", "prefect"] = "file"
    capabilities: dict[str, CapabilitySettings] = Field(default_factory=dict)
    cache: CacheSettings = CacheSettings()
    sandbox: SandboxSettings = SandboxSettings()
    daytona: DaytonaSettings = DaytonaSettings()
    tools: ToolsSettings = ToolsSettings()
    egress: EgressSettings = EgressSettings()
    search: SearchSettings = SearchSettings()
    crawl: CrawlSettings = CrawlSettings()
    browser: BrowserSettings = BrowserSettings()
    computer: ComputerSettings = ComputerSettings()
    run: RunSettings = RunSettings()
    budgets: BudgetSettings = BudgetSettings()
    credentials: Credentials = Field(default_factory=Credentials)

    @model_validator(mode="before")
    @classmethod
    def _take_backend_out_of_limits(cls, data: Any) -> Any:
        """``[limits] backend`` stands beside what is limited, and says where it is counted."""
        if not is_object(data) or not is_object(data.get("limits")):
            return data
        limits = dict(data["limits"])
        chosen = {"limits_backend": limits.pop("backend")} if "backend" in limits else {}
        return {**data, "limits": limits, **chosen}

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
    try:
        values = translate_sections(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from error
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
