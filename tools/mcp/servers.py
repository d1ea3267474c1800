"""The configured servers of one process, and their tools in its registry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from core.base import Value
from core.mcp import McpSettings
from tools.mcp.connection import NotConnectedError, ServerConnection
from tools.mcp.naming import server_prefix, tool_names, visible
from tools.mcp.schema import UnusableSchemaError
from tools.mcp.tool import McpTool
from tools.registry import ToolRegistry
from tools.resources import Resources

_LONGEST_NAME = 100
_log = logging.getLogger(__name__)


class McpStatus(Value):
    """How a server was found. ``detail`` is why it is down, or which tools are left out."""

    server: str
    state: Literal["connected", "down"]
    tools: tuple[str, ...] = ()
    detail: str = ""


async def connect_servers(
    settings: McpSettings, home: Path, registry: ToolRegistry, scope: Resources
) -> tuple[McpStatus, ...]:
    """Connects to all enabled servers at once and registers their tools, and keeps them up to date.

    The connections stay open until ``scope`` ends. One that is down is logged, and whoever names
    its tools is told.
    """
    servers = _Servers(registry)
    connections = [
        ServerConnection(name, server, home, scope, servers.register)
        for name, server in settings.enabled.items()
    ]
    problems = await asyncio.gather(*(_problem_of(connection) for connection in connections))
    servers.begin(connections)
    return tuple(map(servers.status, connections, problems))


async def _problem_of(connection: ServerConnection) -> str | None:
    try:
        await connection.connect()
    except NotConnectedError as error:
        _log.warning("%s", error)
        return str(error)
    return None


class _Servers:
    """Which names the servers' tools have. A name once given stays with its tool."""

    def __init__(self, registry: ToolRegistry) -> None:
        self._registry = registry
        self._begun = False
        self._left_out: dict[str, list[str]] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._tools: dict[tuple[str, str], McpTool] = {}

    def begin(self, connections: Iterable[ServerConnection]) -> None:
        """Registers all that is offered, together: names must not hang on who answers first."""
        connections = tuple(connections)
        self._begun = True
        self._name({(c.name, tool) for c in connections for tool in c.offers})
        for connection in connections:
            self.register(connection)

    def status(self, connection: ServerConnection, problem: str | None) -> McpStatus:
        server = connection.name
        if problem is not None:
            self._registry.note_missing(server_prefix(server), problem)
            return McpStatus(server=server, state="down", detail=problem)
        tools = sorted(tool.name for (owner, _), tool in self._tools.items() if owner == server)
        left_out = "; ".join(self._left_out.get(server, ()))
        return McpStatus(server=server, state="connected", tools=tuple(tools), detail=left_out)

    def register(self, connection: ServerConnection) -> None:
        """Makes the registry say what the server offers now."""
        if not self._begun:
            return
        server = connection.name
        offered = {(server, tool): offer for tool, offer in connection.offers.items()}
        self._name(set(offered))
        for pair in [p for p in self._tools if p[0] == server and p not in offered]:
            self._registry.remove(self._tools.pop(pair).name)
        self._left_out[server] = []
        for pair, offer in offered.items():
            try:
                tool = McpTool(self._names[pair], connection, offer)
            except UnusableSchemaError as error:
                left_out = f"{visible(pair[1])[:_LONGEST_NAME]} is left out: {visible(str(error))}"
                self._left_out[server].append(left_out)
                _log.warning("MCP server %s: %s", server, left_out)
                continue
            self._tools[pair] = tool
            self._registry.replace(tool)

    def _name(self, pairs: set[tuple[str, str]]) -> None:
        named = tool_names({*self._names, *pairs})
        self._names = {**named, **self._names}
