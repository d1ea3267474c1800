"""Servers that answer too much, too often, or otherwise than they were asked."""

from __future__ import annotations

import asyncio
import gzip
import sys
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from core.mcp import McpServerSettings
from tests.fakes.mcp_http import served
from tests.tools.mcp.conftest import ROOT, Connect
from tools.mcp import stdio
from tools.mcp.http import MAX_MESSAGE_BYTES
from tools.result_bounds import MAX_DATA_CHARS

_FLOODS = """
import os, sys
sys.stderr.write("flood " * 1_000_000)
sys.stderr.flush()
from tests.fakes.mcp_server import main
main()
"""


def generous() -> MCPServer:
    server = MCPServer("generous")

    @server.tool()
    def text(size: int) -> str:
        """Much of it."""
        return "x" * size

    @server.tool()
    def structured(size: int) -> dict[str, str]:
        """Much of it."""
        return {"x": "x" * size}

    return server


async def test_a_message_beyond_the_bound_ends_the_connection_and_not_us(connect: Connect) -> None:
    async with served(generous().streamable_http_app()) as address:
        server = McpServerSettings(url=f"{address}/mcp", timeout_seconds=20)
        async with connect(web=server) as servers:
            huge = await servers.call("mcp_web_text", size=MAX_MESSAGE_BYTES + 1)
            assert huge.is_error
            small = await servers.call("mcp_web_text", size=3)
            assert "xxx" in small.output
            many = await servers.call("mcp_web_structured", size=MAX_DATA_CHARS)
            assert many.data is None
            assert "its data exceed" in many.text


async def test_what_is_compressed_unasked_is_not_unpacked(connect: Connect) -> None:
    bomb = gzip.compress(bytes(10_000_000))

    async def explode(request: Any) -> Response:
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        return Response(bomb, headers=headers)

    async with served(Starlette(routes=[Route("/mcp", explode, methods=["POST", "GET"])])) as at:
        server = McpServerSettings(url=f"{at}/mcp", timeout_seconds=5)
        async with connect(web=server) as servers:
            (status,) = servers.statuses
    assert status.state == "down"


async def test_a_server_that_tells_of_changes_for_ever_is_asked_at_intervals(
    connect: Connect,
) -> None:
    server, listings = MCPServer("restless"), [0]

    @server.tool()
    async def stir(ctx: Context[Any, Any]) -> str:
        """Tells of a change a hundred times."""
        for _ in range(100):
            await ctx.session.send_tool_list_changed()
            await ctx.notify_tools_changed()
            await asyncio.sleep(0.01)
        return "stirred"

    app = counting(server.streamable_http_app(), listings)
    async with (
        served(app) as address,
        connect(web=McpServerSettings(url=f"{address}/mcp")) as servers,
    ):
        assert (await servers.call("mcp_web_stir")).output == "stirred"
    assert 1 <= listings[0] <= 20


def counting(app: Any, listings: list[int]) -> Any:
    """``app``, noting how often the tools were asked for."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            message = await receive()
            listings[0] += b'"tools/list"' in message.get("body", b"")
            return message

        await app(scope, received if scope["type"] == "http" else receive, send)

    return asgi


async def test_what_a_server_writes_into_its_log_is_bounded_and_ours_alone(
    connect: Connect,
) -> None:
    server = McpServerSettings(
        command=sys.executable, args=("-c", _FLOODS), env={"PYTHONPATH": str(ROOT)}
    )
    async with connect(loud=server) as servers:
        log = stdio.server_directory(servers.home, "loud") / "stderr.log"
        assert log.stat().st_mode & 0o077 == 0
        for _ in range(100):
            if log.stat().st_size < 1_000_000:
                break
            await asyncio.sleep(0.1)
        assert log.read_text(encoding="utf-8").startswith("(what was here grew too long)")


async def test_a_key_in_an_address_is_not_told(connect: Connect) -> None:
    async def refuse(request: Any) -> Response:
        return Response("no", status_code=500)

    async with served(Starlette(routes=[Route("/{p}", refuse, methods=["POST", "GET"])])) as at:
        for kind in ("streamable-http", "sse"):
            url = f"{at}/mcp?key=SECRET"
            server = McpServerSettings.model_validate({"type": kind, "url": url})
            async with connect(web=server) as servers:
                (status,) = servers.statuses
                assert status.state == "down"
                assert "SECRET" not in status.detail
