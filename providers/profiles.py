"""How the services behind the openai SDK differ; ``profiles.toml`` says what its fields mean."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

from pydantic import TypeAdapter

from core.base import JsonObject, Value, is_object
from core.provider_settings import ProviderKind

_FILE = Path(__file__).with_name("profiles.toml")
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_VALUES = frozenset({"enum", "const", "default", "examples", "required"})


class Profile(Value):
    """One table of ``profiles.toml``."""

    endpoint: Literal["chat", "responses", "azure"]
    base_url: str | None = None
    key: str | None = None
    address: str | None = None
    deployment: str | None = None
    api_version: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    keyless: bool = False
    model: str | None = None
    max_tokens: Literal["by_model", "max_tokens", "max_completion_tokens"] = "by_model"
    json_schema: bool = True
    parallel_tool_calls: bool = True
    stream_options: bool = True
    forced_tools: bool = True
    thinking: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    thinking_back: Literal["never", "with_calls", "always_with_calls"] = "never"
    signed: bool = False
    strip_schema: frozenset[str] = frozenset()

    def fit_schema(self, schema: JsonObject) -> JsonObject:
        """The schema without the keywords that this service refuses."""
        return _stripped(schema, self.strip_schema) if self.strip_schema else schema


@cache
def load_profiles() -> Mapping[ProviderKind, Profile]:
    """Every profile by its kind."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    adapter = TypeAdapter(dict[ProviderKind, Profile])
    return MappingProxyType(adapter.validate_python(tables))


def ollama_base_url(host: str) -> str:
    """The base URL that a value of OLLAMA_HOST means, as Ollama's own clients read it.

    The same variable tells the server where to listen: every address is then this machine.
    """
    scheme, _, rest = host.strip().rpartition("://")
    address, slash, path = rest.partition("/")
    default = {"": "11434", "http": "80"}.get(scheme, "443")
    name, port = _split_port(address)
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)
    prefix = f"{slash}{path}".rstrip("/")
    return f"{scheme or 'http'}://{name}:{port or default}{prefix}/v1"


def _split_port(address: str) -> tuple[str, str]:
    name, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        return address, ""
    return name, port


def _stripped(node: JsonObject, refused: frozenset[str]) -> JsonObject:
    kept = {k: v for k, v in node.items() if k not in refused}
    return {key: _stripped_below(key, value, refused) for key, value in kept.items()}


def _stripped_below(key: str, value: object, refused: frozenset[str]) -> object:
    if key in _VALUES:
        return value
    if is_object(value):
        if key in _NAMED_SCHEMAS:
            # Its keys are names of the caller's, whatever keyword they look like.
            return {name: _stripped_below("", inner, refused) for name, inner in value.items()}
        return _stripped(value, refused)
    if isinstance(value, list):
        return [_stripped_below("", item, refused) for item in cast("list[object]", value)]
    return value
