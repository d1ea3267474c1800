"""``manus mcp``: the MCP servers we use, and the one we are."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.cli.exits import Exit, told_plainly

if TYPE_CHECKING:
    from core.settings import Settings

mcp_app = typer.Typer(
    help="MCP servers: those of mcp.json, and this product as one.", no_args_is_help=True
)


@mcp_app.command("serve")
def serve(
    transport: Annotated[Literal["stdio", "http"], typer.Option()] = "stdio",
    host: Annotated[str, typer.Option(help="The address that clients will use.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="For http.")] = 8600,
    tools: Annotated[
        list[str], typer.Option("--tools", help="A tool to offer, by name or pattern. Default: all")
    ] = [],  # noqa: B006  typer copies it
) -> None:
    """Offer our tools and flows to MCP clients."""
    with told_plainly(False):
        from core.settings import load_settings

        settings = load_settings()
        chosen = tuple(tools) or ("*",)
        if transport == "stdio":
            asyncio.run(_serve_stdio(settings, chosen))
        else:
            asyncio.run(_serve_http(settings, chosen, host, port))


async def _serve_stdio(settings: Settings, tools: tuple[str, ...]) -> None:
    from mcp.server.stdio import stdio_server

    from gateway.mcp_server import serving

    async with serving(settings, tools) as server, stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


async def _serve_http(settings: Settings, tools: tuple[str, ...], host: str, port: int) -> None:
    import uvicorn

    from gateway.mcp_server import serving, token_file
    from gateway.mcp_server_http import http_app, read_or_make_token

    async with serving(settings, tools) as server:
        file = token_file(settings.home)
        app = http_app(server, host, read_or_make_token(file))
        named = f"[{host}]" if ":" in host else host
        sys.stderr.write(
            f"MCP server: http://{named}:{port}/mcp\n"
            f"clients send the header Authorization: Bearer TOKEN; the token is in {file}\n"
        )
        sys.stderr.flush()
        config = uvicorn.Config(
            app, host=host, port=port, log_level="warning", access_log=False, log_config=None
        )
        config.timeout_graceful_shutdown = 5
        await uvicorn.Server(config).serve()


@mcp_app.command("list")
def list_servers(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Connect to the servers of mcp.json and show their tools."""
    with told_plainly(as_json):
        from core.settings import load_settings

        statuses = asyncio.run(_statuses(load_settings()))
        if as_json:
            document = {"servers": [s.model_dump(mode="json") for s in statuses]}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        else:
            _show(statuses)
        down = any(s.state == "down" for s in statuses)
        raise SystemExit(Exit.ENVIRONMENT if down else Exit.COMPLETED)


async def _statuses(settings: Settings) -> tuple[Any, ...]:
    from core.mcp import load_mcp_settings
    from tools.mcp.servers import connect_servers
    from tools.registry import ToolRegistry
    from tools.resources import resources

    async with resources() as scope:
        return await connect_servers(
            load_mcp_settings(settings.home), settings.home, ToolRegistry(), scope
        )


def _show(statuses: tuple[Any, ...]) -> None:
    for status in statuses:
        detail = f": {status.detail}" if status.detail else ""
        sys.stdout.write(f"{status.server} ({status.state}){detail}\n")
        sys.stdout.write("".join(f"  {name}\n" for name in status.tools))
    if not statuses:
        sys.stdout.write("no server is configured: there is no mcp.json, or it has none enabled\n")
