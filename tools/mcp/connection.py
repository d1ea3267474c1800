"""A configured server: connected when needed, again after it died, shared by all who call it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ToolFailedError
from core.mcp import McpServerSettings
from tools.mcp.session import Offer, describe, open_session
from tools.mcp.stdio import server_directory
from tools.resources import Resources

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult

MAX_CONNECT_SECONDS = 60.0
_log = logging.getLogger(__name__)


class NotConnectedError(ToolFailedError):
    """The server cannot be reached, or does not speak the protocol; the message says why."""


class _LostError(Exception):
    """The connection broke; the message says how."""


@dataclass(slots=True)
class ServerConnection:
    """``offers`` are the tools of the last listing, by the server's own names.

    Calls go out at once, however many there are; only connecting is done by one of them for all.
    """

    name: str
    settings: McpServerSettings
    home: Path
    scope: Resources
    on_change: Callable[[ServerConnection], None]
    offers: dict[str, Offer] = field(default_factory=dict[str, Offer])
    _generation: int = 0
    _was_lost: bool = False

    async def connect(self) -> Client:
        """The open session, opened if there is none.

        Raises:
            NotConnectedError: with what went wrong, and where a stdio server's log is.
        """
        key = self._key(self._generation)
        seconds = min(self.settings.timeout_seconds, MAX_CONNECT_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                return await self.scope.obtain(key, self._open)
        except TimeoutError as error:
            await self.scope.release(key)
            raise self._not_connected(f"no answer in {seconds:g} s") from error
        except Exception as error:
            raise self._not_connected(describe(error)) from error

    async def call(self, tool: str, arguments: dict[str, Any]) -> tuple[CallToolResult, bool]:
        """The server's answer, and whether the server had to be connected to anew for it.

        Raises:
            ToolFailedError: the connection broke during the call, or the server refused it.
        """
        generation = self._generation
        client = await self.connect()
        renewed, self._was_lost = self._was_lost, False
        try:
            return await self._send(client, tool, arguments), renewed
        except _LostError as lost:
            await self._give_up(generation)
            raise ToolFailedError(
                f"MCP server '{self.name}' went away during the call ({lost}): whether it took "
                "effect is unknown. The next call connects to it anew"
            ) from lost

    async def _send(self, client: Client, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        from anyio import BrokenResourceError, ClosedResourceError
        from httpx2 import TransportError
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED
        from pydantic import ValidationError

        try:
            return await client.call_tool(tool, arguments)
        except MCPError as error:
            # A session that the server has forgotten has no code of its own in the SDK.
            if error.code == CONNECTION_CLOSED or error.message == "Session terminated":
                raise _LostError(error.message) from error
            raise ToolFailedError(f"MCP server '{self.name}': {error.message}") from error
        except ValidationError as error:
            raise ToolFailedError(f"MCP server '{self.name}' answered nonsense: {error}") from error
        except (BrokenResourceError, ClosedResourceError, TransportError) as error:
            raise _LostError(describe(error)) from error

    def _open(self) -> AbstractAsyncContextManager[Client]:
        return open_session(self.name, self.settings, self.home, self._listed)

    def _listed(self, offers: tuple[Offer, ...]) -> None:
        wanted = self.settings.tools
        self.offers = {
            offer.tool.name: offer
            for offer in offers
            if wanted is None or any(fnmatchcase(offer.tool.name, w) for w in wanted)
        }
        self.on_change(self)

    async def _give_up(self, generation: int) -> None:
        """Closes a session that broke, once, however many calls were on it."""
        if generation != self._generation:
            return
        self._generation += 1
        self._was_lost = True
        _log.warning("MCP server %s: the connection was lost", self.name)
        await self.scope.release(self._key(generation))

    def _key(self, generation: int) -> str:
        return f"MCP server {self.name} #{generation}"

    def _not_connected(self, reason: str) -> NotConnectedError:
        hint = ""
        if self.settings.transport == "stdio":
            hint = f"; its log is {server_directory(self.home, self.name) / 'stderr.log'}"
        return NotConnectedError(f"MCP server '{self.name}' is not connected: {reason}{hint}")
