"""Servers behind HTTP: both transports, and that nobody but the configured address is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route

from core.mcp import McpServerSettings
from tests.fakes.mcp_http import served
from tests.fakes.mcp_server import build_server
from tests.tools.mcp.conftest import Connect

EVERY_METHOD = ["GET", "POST", "DELETE"]


def guarded(app: Any, seen: list[dict[str, str]]) -> Any:
    """``app`` for those who send the right key; notes the headers of each request."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append({k.decode(): v.decode() for k, v in scope["headers"]})
            if seen[-1].get("x-key") != "right":
                await PlainTextResponse("no", status_code=401)(scope, receive, send)
                return
        await app(scope, receive, send)

    return asgi


def http_app() -> Any:
    return build_server().streamable_http_app()


def sse_app() -> Any:
    return build_server().sse_app()


@pytest.mark.parametrize(
    ("kind", "path", "app"),
    [("http", "/mcp", http_app), ("streamable-http", "/mcp", http_app), ("sse", "/sse", sse_app)],
)
async def test_a_server_behind_http_is_called_with_the_configured_headers(
    kind: Any, path: str, app: Callable[[], Any], connect: Connect
) -> None:
    seen: list[dict[str, str]] = []
    async with served(guarded(app(), seen)) as address:
        server = McpServerSettings(type=kind, url=address + path, headers={"X-Key": "right"})
        async with connect(web=server) as servers:
            assert servers.statuses[0].state == "connected", servers.statuses
            answers = await asyncio.gather(
                *(servers.call("mcp_web_add", a=n, b=1) for n in range(4))
            )
            assert [a.data["sum"] for a in answers] == [1, 2, 3, 4]
    assert len(seen) > 4


async def test_a_wrong_key_is_a_server_that_is_down(connect: Connect) -> None:
    async with served(guarded(http_app(), [])) as address:
        server = McpServerSettings(url=f"{address}/mcp", headers={"X-Key": "wrong"})
        async with connect(web=server) as servers:
            assert servers.statuses[0].state == "down"
            assert servers.registry.names == ()


@pytest.mark.parametrize("kind", ["streamable-http", "sse"])
async def test_a_redirect_to_another_address_is_not_followed(kind: Any, connect: Connect) -> None:
    reached: list[str] = []

    async def inside(request: Any) -> PlainTextResponse:
        reached.append(request.url.path)
        return PlainTextResponse("secret")

    async with served(Starlette(routes=[Route("/x", inside, methods=EVERY_METHOD)])) as private:

        async def away(request: Any) -> RedirectResponse:
            return RedirectResponse(f"{private}/x", status_code=307)

        app = Starlette(routes=[Route("/mcp", away, methods=EVERY_METHOD)])
        async with served(app) as address:
            server = McpServerSettings(type=kind, url=f"{address}/mcp", timeout_seconds=10)
            async with connect(web=server) as servers:
                assert servers.statuses[0].state == "down"
    assert reached == []


async def test_a_proxy_of_the_environment_is_not_used(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with (
        served(http_app()) as address,
        connect(web=McpServerSettings(url=f"{address}/mcp")) as servers,
    ):
        assert (await servers.call("mcp_web_add", a=1, b=1)).data == {"sum": 2}


async def test_a_tool_that_appears_is_told_of_over_http(connect: Connect) -> None:
    async with (
        served(http_app()) as address,
        connect(web=McpServerSettings(url=f"{address}/mcp")) as servers,
    ):
        assert (await servers.call("mcp_web_grow")).output == "it grows"
        for _ in range(400):
            if "mcp_web_grown" in servers.registry.names:
                break
            await asyncio.sleep(0.025)
        assert (await servers.call("mcp_web_grown")).output == "grown"


async def test_a_server_that_goes_and_comes_back_is_used_again(connect: Connect) -> None:
    async with AsyncExitStack() as first:
        address = await first.enter_async_context(served(http_app()))
        server = McpServerSettings(url=f"{address}/mcp", timeout_seconds=20)
        async with connect(web=server) as servers:
            assert (await servers.call("mcp_web_add", a=1, b=1)).data == {"sum": 2}
            await first.aclose()
            gone = await servers.call("mcp_web_add", a=1, b=1)
            assert "went away during the call" in (gone.error or "")
            still = await servers.call("mcp_web_add", a=1, b=1)
            assert "MCP server 'web' is not connected" in (still.error or "")
            async with served(http_app(), port=int(address.rpartition(":")[2])):
                back = await servers.call("mcp_web_add", a=1, b=1)
                assert back.data == {"sum": 2}
                assert "was connected to anew" in back.output
