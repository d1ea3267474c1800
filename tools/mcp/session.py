"""One open connection to one MCP server."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from core.fingerprint import fingerprint
from core.mcp import McpServerSettings

if TYPE_CHECKING:  # importing the SDK takes a second or more
    from mcp import Client
    from mcp_types import Tool

MAX_TOOLS = 500
_MAX_PAGES = 50
_LOGIN = re.compile(r"//[^/\s@'\"]{1,500}@")
_QUERY = re.compile(r"(?<=\S)\?[^\s'\"]+")
_PAUSE_SECONDS = 1.0
"""Between two listings: a server may tell of a change whenever it is asked for its tools."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as its server describes it. ``digest`` changes with any word of that."""

    tool: Tool
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        told = self.tool.model_dump(mode="json", exclude={"meta", "icons"})
        object.__setattr__(self, "digest", fingerprint(told))


OnListing = Callable[[tuple[Offer, ...]], None]


@asynccontextmanager
async def open_session(
    server: str, settings: McpServerSettings, home: Path, on_listing: OnListing
) -> AsyncGenerator[Client]:
    """Connects, tells ``on_listing`` the tools, and tells it again whenever they change.

    Once it is open no failure of the connection is raised here: the next call meets it.
    """
    opened = False
    try:
        changed = asyncio.Event()
        async with _client(_transport(server, settings, home), changed) as client:
            on_listing(await list_offers(client))
            watchers = [
                asyncio.create_task(_listen(client, changed)),
                asyncio.create_task(_follow(server, client, changed, on_listing)),
            ]
            try:
                opened = True
                yield client
            finally:
                for task in watchers:
                    task.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)
    except Exception as error:
        if not opened:
            raise
        _log.warning("MCP server %s: the connection ended badly: %s", server, describe(error))


def _client(transport: AbstractAsyncContextManager[Any], changed: asyncio.Event) -> Client:
    from mcp import Client
    from mcp_types import Implementation, ToolListChangedNotification

    async def on_message(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    info = Implementation(name="manus-flows", version="1")
    return Client(transport, message_handler=on_message, client_info=info, cache=None)


def _transport(
    server: str, settings: McpServerSettings, home: Path
) -> AbstractAsyncContextManager[Any]:
    if settings.transport == "stdio":
        from tools.mcp.stdio import stdio_transport

        return stdio_transport(server, settings, home)
    from tools.mcp.http import http_transport

    return http_transport(settings)


async def list_offers(client: Client) -> tuple[Offer, ...]:
    """Every page of the server's list, up to ``MAX_TOOLS``."""
    offers: list[Offer] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        offers += [Offer(tool) for tool in page.tools]
        cursor = page.next_cursor
        if not cursor:
            break
    return tuple(offers[:MAX_TOOLS])


async def _listen(client: Client, changed: asyncio.Event) -> None:
    """Servers of the newer protocol tell of changes only to those who subscribe."""
    from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
    from mcp.shared.exceptions import MCPError

    try:
        async with client.listen(tools_list_changed=True) as events:
            async for _ in events:
                changed.set()
    except (ListenNotSupportedError, SubscriptionLost, MCPError, TimeoutError) as error:
        _log.debug("no subscription: %s", error)


async def _follow(
    server: str, client: Client, changed: asyncio.Event, on_listing: OnListing
) -> None:
    from mcp.shared.exceptions import MCPError
    from pydantic import ValidationError

    while True:
        await changed.wait()
        changed.clear()
        try:
            on_listing(await list_offers(client))
        except (MCPError, ValidationError) as error:
            _log.warning("MCP server %s: its tools could not be listed: %s", server, error)
        await asyncio.sleep(_PAUSE_SECONDS)


def describe(error: BaseException) -> str:
    """One line; of a group, its first error: task groups wrap what went wrong.

    Addresses are without logins and queries, where keys are.
    """
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        error = group.exceptions[0]
    text = str(error).strip().splitlines()
    told = text[0] if text else type(error).__name__
    return _QUERY.sub("?…", _LOGIN.sub("//", told))
