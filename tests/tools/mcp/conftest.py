"""Servers of the tests, connected through the product's client."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.mcp import McpServerSettings, McpSettings
from tools.base import ToolContext, ToolResult
from tools.invoke import invoke
from tools.mcp.servers import McpStatus, connect_servers
from tools.mcp.tool import pin_tools
from tools.registry import ToolRegistry
from tools.resources import resources
from tools.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Connected:
    """The tools of connected servers. ``home`` is a MANUS_HOME."""

    home: Path
    registry: ToolRegistry
    statuses: tuple[McpStatus, ...]
    context: ToolContext

    async def call(self, tool: str, **arguments: Any) -> ToolResult:
        return await invoke(self.registry.get(tool).bind(self.context), arguments)

    def pin(self) -> None:
        pin_tools(self.context, [self.registry.get(name) for name in self.registry.names])


Connect = Callable[..., AbstractAsyncContextManager[Connected]]


def fake(**settings: Any) -> McpServerSettings:
    """The fake server over stdio; it finds its own module by PYTHONPATH."""
    env = {"PYTHONPATH": str(ROOT), **settings.pop("env", {})}
    return McpServerSettings(
        command=sys.executable, args=("-m", "tests.fakes.mcp_server"), env=env, **settings
    )


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    @asynccontextmanager
    async def connecting(**servers: McpServerSettings) -> AsyncGenerator[Connected]:
        registry = ToolRegistry()
        private = tmp_path / "run" / "private" / "step"
        private.mkdir(parents=True, exist_ok=True)
        context = ToolContext(Workspace(tmp_path / "workspace").step("own"), private=private)
        async with resources() as scope:
            settings = McpSettings(mcpServers=servers)
            statuses = await connect_servers(settings, tmp_path / "home", registry, scope)
            yield Connected(tmp_path / "home", registry, statuses, context)

    return connecting
