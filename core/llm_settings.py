"""OpenManus's ``[llm]`` sections, as the providers and routes that they mean here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, StringConstraints, TypeAdapter

from core.base import JsonObject, Slug, Value, is_object
from core.errors import ConfigError
from core.provider_settings import ProviderKind

PROVIDER = "llm"
"""The provider of ``[llm]``; that of ``[llm.vision]`` is ``llm-vision``."""

_API_TYPES: Mapping[str, ProviderKind] = MappingProxyType(
    {"aws": "bedrock", **{kind: kind for kind in get_args(ProviderKind) if kind != "openai"}}
)
_HOSTS: tuple[tuple[str, ProviderKind], ...] = (
    (r"(^|\.)anthropic\.com$", "anthropic"),
    (r"^generativelanguage\.googleapis\.com$", "google"),
    (r"(^|\.)openai\.azure\.com$", "azure"),
    (r"(^|\.)openrouter\.ai$", "openrouter"),
    (r"(^|\.)groq\.com$", "groq"),
    (r"(^|\.)deepseek\.com$", "deepseek"),
    (r"^bedrock-runtime[.-].*amazonaws\.com", "bedrock"),
)
_OLLAMA_PORT = 11434

Lower = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)]


class LlmSettings(Value):
    """``[llm]``, which is the route ``default``, or ``[llm.NAME]``, which is the route ``NAME``.

    What a named one leaves out is as in ``[llm]``. ``api_type`` is a kind of provider, ``azure`` or
    ``aws``; empty, the host of ``base_url`` tells, and else it is an endpoint compatible with
    OpenAI's. ``max_tokens`` bounds one answer. ``max_input_tokens`` is the budget of a whole run in
    tokens, and stands in ``[llm]`` only.
    """

    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key: SecretStr | None = None
    max_tokens: int = Field(default=4096, gt=0)
    max_input_tokens: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    api_type: Lower = ""
    api_version: str = ""

    @property
    def kind(self) -> ProviderKind:
        """Raises ConfigError for an ``api_type`` that is not known."""
        if self.api_type in _API_TYPES:
            return _API_TYPES[self.api_type]
        if self.api_type not in ("", "openai"):
            known = ", ".join(("openai", *_API_TYPES))
            raise ConfigError(f"api_type: no '{self.api_type}' (known: {known})")
        return self._kind_of_address()

    def provider(self) -> JsonObject:
        """The values of ``[providers.NAME]``."""
        kind = self.kind
        values: JsonObject = {
            "kind": kind,
            "model": self.model,
            "max_output_tokens": self.max_tokens,
            "temperature": self.temperature,
            "base_url": self.base_url or None,
            "api_key": self.api_key,
            "api_version": self.api_version or None,
        }
        values |= _ADAPTED.get(kind, _unchanged)(self)
        return {key: value for key, value in values.items() if value is not None}

    def _kind_of_address(self) -> ProviderKind:
        address = _address(self.base_url)
        host = address.hostname or ""
        for pattern, kind in _HOSTS:
            if re.search(pattern, host):
                return kind
        return "ollama" if address.port == _OLLAMA_PORT else "openai"


def translate_sections(values: JsonObject) -> JsonObject:
    """The values of a ``manus.toml`` with what ``[llm]`` means in the place of ``[llm]``.

    Raises:
        ConfigError: a section has no meaning here, or says what another one says too.
        ValidationError: a value of ``[llm]`` is wrong.
    """
    _refuse_what_means_nothing(values)
    if "llm" not in values:
        return values
    sections = _read(values["llm"])
    rest = {key: value for key, value in values.items() if key != "llm"}
    for name, section in sections.items():
        provider = PROVIDER if name == "default" else f"{PROVIDER}-{name}"
        place = _place(name)
        rest = _added(rest, "providers", provider, _provider(section, place), place)
        rest = _added(rest, "routes", name, {"deployments": [provider]}, place)
    return _with_budget(rest, sections)


def _read(llm: object) -> dict[str, LlmSettings]:
    """By the name of the route."""
    if not is_object(llm):
        raise ConfigError("llm: must be a section")
    named = {name: value for name, value in llm.items() if is_object(value)}
    shared = {name: value for name, value in llm.items() if name not in named}
    if "default" in named:
        raise ConfigError("[llm.default]: the route default is [llm] itself")
    placed = {_place(name): {**shared, **value} for name, value in named.items()}
    if shared:
        placed = {"llm": shared, **placed}
    found = TypeAdapter(dict[str, LlmSettings]).validate_python(placed)
    TypeAdapter(dict[Slug, object]).validate_python(named)
    for name in named:
        if "max_input_tokens" in named[name]:
            problem = "is the budget of a whole run; set it in [llm], or as max_tokens in"
            raise ConfigError(f"{_place(name)}.max_input_tokens: {problem} [run.budget]")
    return {p.partition(".")[2] or "default": section for p, section in found.items()}


def _provider(section: LlmSettings, place: str) -> JsonObject:
    try:
        return section.provider()
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{place}.{error}") from error


def _place(name: str) -> str:
    return "llm" if name == "default" else f"llm.{name}"


def _added(values: JsonObject, table: str, name: str, value: JsonObject, place: str) -> JsonObject:
    known = values.get(table, {})
    if name in known:
        raise ConfigError(f"[{place}] is [{table}.{name}] already; keep one of them")
    return {**values, table: {**known, name: value}}


def _with_budget(values: JsonObject, sections: Mapping[str, LlmSettings]) -> JsonObject:
    tokens = sections["default"].max_input_tokens if "default" in sections else None
    if tokens is None:
        return values
    run = values.get("run", {})
    budget = run.get("budget", {})
    if "max_tokens" in budget:
        raise ConfigError("[llm] max_input_tokens is [run.budget] max_tokens; keep one of them")
    return {**values, "run": {**run, "budget": {**budget, "max_tokens": tokens}}}


def _refuse_what_means_nothing(values: JsonObject) -> None:
    for section, key, instead in (
        ("mcp", "server_reference", "'manus mcp serve' is the server, and others are in mcp.json"),
        ("runflow", "use_data_analysis_agent", "planners are always offered data_analysis"),
    ):
        if section in values:
            named = key in values[section] if is_object(values[section]) else False
            what = f"[{section}] {key}" if named else f"[{section}]"
            raise ConfigError(f"{what} means nothing here: {instead}; leave it out")


def _address(base_url: str | None) -> SplitResult:
    """Also of an address without ``https://``."""
    text = base_url or ""
    return urlsplit(text if "://" in text else f"//{text}")


def _unchanged(_: LlmSettings) -> JsonObject:
    return {}


def _anthropic(section: LlmSettings) -> JsonObject:
    """Its own address ends before the version; an endpoint compatible with OpenAI's has it."""
    url = (section.base_url or "").rstrip("/").removesuffix("/v1")
    return {"base_url": url or None}


def _azure(section: LlmSettings) -> JsonObject:
    """The address of a deployment is the endpoint and the deployment's name."""
    endpoint, found, deployment = (section.base_url or "").partition("/openai/deployments/")
    name = deployment.partition("/")[0]
    return {"base_url": endpoint or None, "model": name if found and name else section.model}


def _bedrock(section: LlmSettings) -> JsonObject:
    """The region is in the address; credentials are AWS's own, whatever stands for a key."""
    host = _address(section.base_url).hostname or ""
    region = re.match(r"bedrock-runtime[\w-]*\.([a-z0-9-]+)\.amazonaws\.com", host)
    url = section.base_url if section.base_url and not region else None
    return {"api_key": None, "base_url": url, "region": region[1] if region else None}


_ADAPTED = MappingProxyType({"anthropic": _anthropic, "azure": _azure, "bedrock": _bedrock})
