"""Our tools and flows as an MCP server, for any client that speaks the protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.base import is_object
from core.errors import BadInputError, EnvironmentUnusableError
from core.message import TextPart
from core.settings import Settings
from gateway.mcp_server_runs import run_tools
from tools.base import BaseTool, ToolContext, ToolResult
from tools.invoke import invoke
from tools.registry import default_registry
from tools.resources import Resources, Scopes, resources
from tools.sandbox.base import Sandbox, SandboxLimits
from tools.sandbox.select import choose_sandbox
from tools.workspace import Workspace

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp_types import CallToolResult, Tool

NEED_A_RUN = frozenset({"terminate", "ask_human", "planning", "create_chat_completion"})
"""Tools that mean something only within a run: they end it, plan it, or speak for it."""

INSTRUCTIONS = (
    "Tools that work in one sandboxed directory, kept between calls, and runs of whole plans: "
    "plan_and_run starts one in the background, run_status and run_result tell what became of it."
)


@asynccontextmanager
async def serving(
    settings: Settings, patterns: Iterable[str] = ("*",)
) -> AsyncGenerator[Server[Any]]:
    """The server with the tools that ``patterns`` name, over whatever transport.

    It has a workspace of its own under MANUS_HOME, the same each time. It does not connect to the
    servers of ``mcp.json``, of which it may be one.

    Raises:
        BadInputError: a pattern names no tool.
        SandboxUnavailableError: nothing here can run tools safely.
    """
    sandbox = await choose_sandbox(settings.sandbox)
    try:
        async with resources() as scope:
            context = _context(settings, sandbox, scope)
            served = _chosen(_available(settings), tuple(patterns))
            yield _server({name: tool.bind(context) for name, tool in served.items()})
    finally:
        await sandbox.close()


def _context(settings: Settings, sandbox: Sandbox, scope: Resources) -> ToolContext:
    place = settings.home / "mcp-server"
    private = place / "private"
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    return ToolContext(
        directory=Workspace(place / "workspace").step("shared"),
        sandbox=sandbox,
        limits=SandboxLimits.from_settings(settings.sandbox),
        scopes=Scopes(step=scope, run=scope, process=scope),
        private=private,
    )


def _available(settings: Settings) -> dict[str, BaseTool]:
    registry = default_registry(settings)
    ours = [registry.get(name) for name in registry.names if name not in NEED_A_RUN]
    return {tool.name: tool for tool in (*ours, *run_tools(settings))}


def _chosen(available: dict[str, BaseTool], patterns: tuple[str, ...]) -> dict[str, BaseTool]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in available):
            there = ", ".join(sorted(available))
            raise BadInputError(f"--tools {pattern}: no such tool; there are: {there}")
    return {n: t for n, t in available.items() if any(fnmatchcase(n, p) for p in patterns)}


def _server(tools: Mapping[str, BaseTool]) -> Server[Any]:
    from mcp.server.lowlevel import Server
    from mcp.shared.exceptions import MCPError
    from mcp_types import INVALID_PARAMS, CallToolRequestParams, ListToolsResult

    async def on_list_tools(context: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[_told(tool) for tool in tools.values()])

    async def on_call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        if params.name not in tools:
            raise MCPError(INVALID_PARAMS, f"no tool named '{params.name}'")
        return await _called(tools[params.name], params.arguments or {})

    return Server(
        "manus-flows",
        instructions=INSTRUCTIONS,
        on_list_tools=on_list_tools,
        on_call_tool=on_call_tool,
    )


def _told(tool: BaseTool) -> Tool:
    from mcp_types import Tool, ToolAnnotations

    of = tool.annotations
    hints = ToolAnnotations(
        read_only_hint=of.read_only,
        destructive_hint=not of.read_only,
        idempotent_hint=of.idempotent,
        open_world_hint=of.network,
    )
    return Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.parameters,
        annotations=hints,
    )


async def _called(tool: BaseTool, arguments: dict[str, Any]) -> CallToolResult:
    try:
        result = await invoke(tool, arguments)
    except EnvironmentUnusableError as error:
        result = ToolResult(error=str(error))
    return answer_of(result)


def answer_of(result: ToolResult) -> CallToolResult:
    """Whole: a client has no next turn in which to be shown the state."""
    from mcp_types import CallToolResult, ImageContent, TextContent

    text = result.text
    if result.data is not None and not result.output and not result.is_error:
        text = json.dumps(result.data, indent=2, ensure_ascii=False)
    content: list[Any] = [TextContent(type="text", text=text)]
    content += [
        TextContent(type="text", text=part.text)
        if isinstance(part, TextPart)
        else ImageContent(type="image", data=part.data, mime_type=part.media_type)
        for part in (*result.images, *result.state)
    ]
    return CallToolResult(
        content=content,
        # Older clients take nothing but an object here.
        structured_content=result.data if is_object(result.data) else None,
        is_error=result.is_error,
    )


def token_file(home: Path) -> Path:
    return home / "mcp-server" / "token"
