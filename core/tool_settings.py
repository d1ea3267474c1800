"""What can be configured of tools and of where they run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from core.base import Value, is_object

_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}


class SandboxSettings(Value):
    """``[sandbox]``. Sizes are MiB, over the whole process tree of one tool run.

    ``memory_limit = "512m"`` is another spelling of ``memory_mib``, ``timeout`` of
    ``timeout_seconds``. ``cpu_limit`` is a number of CPUs: one call may use that many times its
    time limit in CPU seconds; 0 sets no bound. ``image`` is for the docker backend.
    ``network_enabled`` opens the network to code, which makes the tools that run it high-risk.
    ``use_sandbox = false`` asks for resource limits only, which needs ``allow_unsafe`` as well;
    without that it is ignored with a warning.
    """

    backend: Literal[
        "auto", "docker", "daytona", "bubblewrap", "sandlock", "sandbox-exec", "rlimits"
    ] = "auto"
    use_sandbox: bool = True
    allow_unsafe: bool = False
    timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    memory_mib: int = Field(default=1024, ge=64)
    cpu_limit: float = Field(default=0.0, ge=0)
    disk_mib: int = Field(default=512, ge=1)
    max_processes: int = Field(default=64, ge=4)
    max_output_bytes: int = Field(default=256_000, ge=1000)
    network_enabled: bool = False
    image: str = Field(default="python:3.12-slim", min_length=1)
    work_dir: Literal["/workspace"] = "/workspace"

    @model_validator(mode="before")
    @classmethod
    def _other_spellings(cls, values: Any) -> Any:
        if not is_object(values):
            return values
        given = dict(values)
        for other, name in (("memory_limit", "memory_mib"), ("timeout", "timeout_seconds")):
            if other in given and name in given:
                raise ValueError(f"'{other}' and '{name}' are the same setting; give one")
            if other in given:
                value = given.pop(other)
                given[name] = _mebibytes(value) if other == "memory_limit" else value
        return given


def _mebibytes(size: object) -> int:
    """Docker's spelling of a size: a number with b, k, m or g; bytes without a letter."""
    found = re.fullmatch(r"(\d+)([bkmg]?)", str(size).strip().lower())
    if found is None:
        raise ValueError(f"memory_limit: '{size}' is not a size like '512m'")
    return int(found[1]) * _UNITS[found[2]] // 2**20


class DaytonaSettings(Value):
    """``[daytona]``, used with ``backend = "daytona"`` under ``[sandbox]``.

    ``api_key`` may be left to the variable DAYTONA_API_KEY. ``image`` names a snapshot of the
    account; without one it is the account's default. ``start_seconds`` bounds how long a new
    sandbox may take until it runs.
    """

    api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("api_key", "daytona_api_key")
    )
    server_url: str = "https://app.daytona.io/api"
    target: str | None = None
    image: str | None = Field(
        default=None, validation_alias=AliasChoices("image", "sandbox_image_name")
    )
    start_seconds: float = Field(default=120.0, gt=0)


class ToolsSettings(Value):
    """``[tools]``: tools of one's own.

    ``modules`` are names of Python modules that can be imported. Every class written in one that
    derives from ``tools.base.BaseTool`` becomes a tool; it is made without arguments.
    """

    modules: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")], ...] = ()


class EgressSettings(Value):
    """``[egress]``: where tools may connect to, beside public addresses on ``ports``.

    An entry is ``host``, ``*.domain`` or an address, each with or without ``:port``. One in
    ``allow_hosts`` may be private, and its port any; the link-local addresses, where clouds keep
    their credentials, must be listed themselves. ``deny_hosts`` wins. ``upstream_proxy`` is
    ``http://user:password@host:port`` and is asked to connect to the address that was checked.
    """

    allow_hosts: tuple[str, ...] = ()
    deny_hosts: tuple[str, ...] = ()
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (80, 443)
    https_only: bool = False
    upstream_proxy: SecretStr | None = None
    connect_timeout_seconds: float = Field(default=10.0, gt=0, le=120)


SearchEngineName = Literal[
    "brave",
    "tavily",
    "serper",
    "google_cse",
    "exa",
    "searxng",
    "google",
    "bing",
    "baidu",
    "duckduckgo",
    "ddgs",
]


class SearchEngineSettings(Value):
    """``[search.engines.NAME]``. Without a key the vendor's own variable counts.

    ``engine_id`` is Google CSE's ``cx``. ``base_url`` is needed for searxng, and replaces the
    vendor's address elsewhere.
    """

    api_key: SecretStr | None = None
    base_url: str | None = None
    engine_id: str | None = None


class SearchSettings(Value):
    """``[search]``. Engines with an API are asked first where their key (or address) is set.

    Then come ``engine`` and ``fallback_engines``, in this order. A failure that may pass is tried
    again ``max_retries`` times, after waits that double from half a second to at most
    ``retry_delay`` seconds; an engine that blocks, or finds nothing, is left at once.
    ``timeout_seconds`` is for one request, ``total_seconds`` for a whole call of the tool.
    """

    engine: SearchEngineName = "google"
    fallback_engines: tuple[SearchEngineName, ...] = ("duckduckgo", "baidu", "bing", "ddgs")
    retry_delay: float = Field(default=60.0, ge=0, le=600)
    max_retries: int = Field(default=3, ge=0, le=10)
    lang: str = Field(default="en", pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z]{2,4})?$")
    country: str = Field(default="us", pattern=r"^[a-zA-Z]{2}$")
    timeout_seconds: float = Field(default=10.0, gt=0, le=120)
    total_seconds: float = Field(default=180.0, gt=0, le=3600)
    engines: dict[SearchEngineName, SearchEngineSettings] = Field(
        default_factory=dict[SearchEngineName, SearchEngineSettings]
    )

    @field_validator("engine", "fallback_engines", "engines", mode="before")
    @classmethod
    def _names_in_any_case(cls, value: Any) -> Any:
        """``Google`` and ``DuckDuckGo`` are engines as well."""
        given: Any = value
        if is_object(given):
            return {name.lower(): settings for name, settings in given.items()}
        if isinstance(given, list | tuple):
            return [_lower(name) for name in cast("list[Any]", given)]
        return _lower(given)


def _lower(name: Any) -> Any:
    return name.lower() if isinstance(name, str) else name


class CrawlSettings(Value):
    """``[crawl]``. ``delay_seconds`` lie between two requests to one host, or what it asks for.

    What robots.txt asks for counts up to ``max_delay_seconds``. ``shown_characters`` of a page are
    told to the model; the whole of a longer one becomes a file of the step.
    """

    respect_robots: bool = True
    delay_seconds: float = Field(default=0.5, ge=0, le=60)
    max_delay_seconds: float = Field(default=10.0, ge=0, le=120)
    concurrency: int = Field(default=4, ge=1, le=32)
    max_pages: int = Field(default=50, ge=1, le=1000)
    max_page_bytes: int = Field(default=5_000_000, ge=1000)
    page_timeout_seconds: float = Field(default=30.0, gt=0, le=300)
    shown_characters: int = Field(default=4000, ge=100)


_CONNECTION_SWITCHES = ("proxy-", "no-proxy", "host-r", "remote-debugging")


class BrowserProxySettings(Value):
    """``[browser.proxy]``: a proxy beyond the egress guard, ``http://host:port``."""

    server: str
    username: str | None = None
    password: SecretStr | None = None


class BrowserSettings(Value):
    """``[browser]``. Timeouts are seconds; sizes are MiB; lengths are characters.

    ``disable_security`` switches the same-origin policy and certificate checks off. With
    ``wss_url`` (a Playwright server) or ``cdp_url`` (a Chromium with remote debugging) no browser
    is started, and the egress guard sees only the addresses that the tool itself opens. ``risk``
    high puts every call before the approvals policy. ``extra_chromium_args`` may not redirect
    connections. ``memory_mib`` is for all pages together; beyond it the largest is ended.
    """

    headless: bool = True
    memory_mib: int = Field(default=4096, ge=512)
    disable_security: bool = False
    extra_chromium_args: tuple[str, ...] = ()
    chrome_instance_path: Path | None = None
    wss_url: SecretStr | None = None
    cdp_url: SecretStr | None = None
    proxy: BrowserProxySettings | None = None
    max_content_length: int = Field(default=10_000, ge=100, le=200_000)
    screenshots: bool = False
    navigation_timeout_seconds: float = Field(default=30.0, gt=0, le=300)
    action_timeout_seconds: float = Field(default=8.0, gt=0, le=120)
    download_mib: int = Field(default=50, ge=1, le=2000)
    confirm_dialogs: Literal["accept", "dismiss"] = "dismiss"
    viewport_width: int = Field(default=1280, ge=320, le=4096)
    viewport_height: int = Field(default=800, ge=240, le=4096)
    risk: Literal["low", "high"] = "low"

    @field_validator("extra_chromium_args")
    @classmethod
    def _leaves_connections_alone(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            if argument.lstrip("-").startswith(_CONNECTION_SWITCHES):
                raise ValueError(f"'{argument}' would lead around the egress guard")
        return arguments


class ComputerSettings(Value):
    """``[computer]``: the automation server of a sandboxed desktop, ``http://host:8000``.

    Without ``url`` there is no ``computer_use``. ``token`` is sent as a bearer token.
    ``timeout_seconds`` bounds one action, and the screenshot after it.
    """

    url: str | None = Field(default=None, pattern=r"^https?://")
    token: SecretStr | None = None
    timeout_seconds: float = Field(default=30.0, gt=0, le=300)
