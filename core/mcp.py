"""``mcp.json``: the MCP servers whose tools a run may use.

Looked for in MANUS_HOME, then in the project's root, like ``manus.toml``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from core.base import Value, is_object
from core.errors import ConfigError
from core.settings import PROJECT_ROOT, first_problem

MCP_FILE = "mcp.json"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class McpServerSettings(Value):
    """One entry of ``mcpServers``.

    ``type`` defaults to ``stdio`` where there is a ``command``, else to ``streamable-http``
    (``http`` is its short name). ``env`` is all that a stdio server gets beside PATH, HOME and
    LANG. ``timeout_seconds`` bounds one call, and connecting.

    ``tools`` lists the server's tools to offer, by name or pattern (``read_*``); default all.
    ``risk`` is the operator's word on what a call may do. ``trust`` believes the server's own hints
    (read-only, idempotent, closed world); without it they can make a tool riskier and never safer.
    """

    type: Literal["stdio", "sse", "http", "streamable-http"] | None = None
    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600)
    risk: Literal["low", "high"] = "high"
    trust: bool = False
    tools: tuple[str, ...] | None = None
    disabled: bool = False

    @property
    def transport(self) -> Literal["stdio", "sse", "streamable-http"]:
        if self.type is None:
            return "stdio" if self.command else "streamable-http"
        return "streamable-http" if self.type == "http" else self.type

    @model_validator(mode="after")
    def _fits_its_transport(self) -> Self:
        stdio = self.transport == "stdio"
        if stdio and not self.command:
            raise ValueError("a stdio server needs 'command'")
        if not stdio and urlsplit(self.url or "").scheme not in ("http", "https"):
            raise ValueError(f"a server of type {self.transport} needs 'url', of http or https")
        foreign = ("url", "headers") if stdio else ("command", "args", "env", "cwd")
        for key in foreign:
            if getattr(self, key):
                raise ValueError(f"'{key}' has no meaning for a server of type {self.transport}")
        return self


class McpSettings(Value):
    """The whole file. The field is named as every MCP client names it."""

    mcpServers: dict[str, McpServerSettings] = Field(default_factory=dict)  # noqa: N815

    @property
    def enabled(self) -> dict[str, McpServerSettings]:
        return {n: server for n, server in self.mcpServers.items() if not server.disabled}


def load_mcp_settings(home: Path) -> McpSettings:
    """What ``mcp.json`` says; no server where there is no file.

    ``${VARIABLE}`` in a value is replaced from the environment. A disabled server's is not needed.

    Raises:
        ConfigError: names the file and the key.
    """
    places = (home / MCP_FILE, PROJECT_ROOT / MCP_FILE)
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return McpSettings()
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON: {error}") from error
    try:
        return McpSettings.model_validate(_filled_in(values, file))
    except ValidationError as error:
        raise ConfigError(f"{file}: {first_problem(error)}") from error


def _filled_in(values: Any, file: Path) -> Any:
    servers = values.get("mcpServers") if is_object(values) else None
    if not is_object(servers):
        return values
    filled = {
        name: server
        if is_object(server) and server.get("disabled")
        else _substituted(server, f"{file}: mcpServers.{name}", os.environ)
        for name, server in servers.items()
    }
    return {**values, "mcpServers": filled}


def _substituted(value: Any, place: str, environment: Mapping[str, str]) -> Any:
    if is_object(value):
        return {k: _substituted(v, f"{place}.{k}", environment) for k, v in value.items()}
    if isinstance(value, list):
        items = enumerate(cast(list[Any], value))
        return [_substituted(v, f"{place}.{i}", environment) for i, v in items]
    if not isinstance(value, str):
        return value

    def from_environment(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise ConfigError(f"{place}: the environment variable {name} is not set")
        return environment[name]

    return _VARIABLE.sub(from_environment, value)
