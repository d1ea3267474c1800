"""A server's tool as one of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from core.errors import CorruptRecordError, ToolFailedError
from core.mcp import McpServerSettings
from tools.base import BaseTool, ToolAnnotations, ToolContext, ToolResult
from tools.mcp.answer import to_result
from tools.mcp.connection import ServerConnection
from tools.mcp.naming import visible
from tools.mcp.schema import safe_schema
from tools.mcp.session import Offer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp_types import Tool

PINS_FILE = "mcp-tools.json"
MAX_DESCRIPTION_CHARS = 10_000
_PINS = TypeAdapter(dict[str, str])


class McpTool(BaseTool):
    """Calls ``offer`` on its server. Unusable outside of a running event loop."""

    def __init__(self, name: str, connection: ServerConnection, offer: Offer) -> None:
        """Raises UnusableSchemaError for arguments that cannot be checked."""
        told = offer.tool
        self.name = name
        described = told.description or told.title or told.name
        self.description = visible(described[:MAX_DESCRIPTION_CHARS])
        self.parameters = safe_schema(told.input_schema)
        self.annotations = annotations_of(told, connection.settings)
        self.timeout_seconds = connection.settings.timeout_seconds
        harmless = self.annotations.read_only or self.annotations.idempotent
        self.on_unknown = "rerun" if harmless else "fail"
        self.connection = connection
        self.offer = offer

    async def execute(self, /, **arguments: Any) -> ToolResult:
        # First connect: only then is it known what the server offers now.
        await self.connection.connect()
        self._check_unchanged()
        answer, renewed = await self.connection.call(self.offer.tool.name, arguments)
        note = (
            f"[MCP server '{self.connection.name}' was connected to anew: what it held in memory "
            "may be gone]"
        )
        return to_result(answer, note if renewed else "")

    def _check_unchanged(self) -> None:
        server, told = self.connection.name, self.offer.tool.name
        current = self.connection.offers.get(told)
        if current is None:
            raise ToolFailedError(f"MCP server '{server}' does not offer '{told}' any more")
        file = pins_file(self._context)
        pinned = read_pins(file).get(self.name) if file else None
        if current.digest != (pinned or self.offer.digest):
            raise ToolFailedError(
                f"refused: MCP server '{server}' has changed its definition of '{told}' since this "
                "run began"
            )


def annotations_of(told: Tool, settings: McpServerSettings) -> ToolAnnotations:
    """The operator's word; a server's hint counts where it warns, or where it is trusted."""
    hints = told.annotations
    destructive = bool(hints and hints.destructive_hint and not hints.read_only_hint)
    risk = "high" if settings.risk == "high" or destructive else "low"
    if not settings.trust or hints is None:
        return ToolAnnotations(network=True, risk=risk, untrusted_output=True)
    read_only, closed = bool(hints.read_only_hint), hints.open_world_hint is False
    return ToolAnnotations(
        read_only=read_only,
        idempotent=read_only or bool(hints.idempotent_hint),
        network=not closed,
        risk="low" if read_only else risk,
        untrusted_output=not closed,
    )


def pin_tools(context: ToolContext, tools: Iterable[BaseTool]) -> None:
    """Notes, with the run, how the tools look that it has for the first time. Idempotent.

    A server may describe a tool harmlessly until it is trusted and then otherwise. Within a run,
    and when it is resumed, a tool is what it was; anything else is refused.

    Raises:
        CorruptRecordError: what was noted earlier cannot be read.
    """
    file = pins_file(context)
    found = {tool.name: tool.offer.digest for tool in tools if isinstance(tool, McpTool)}
    if file is None or not found:
        return
    known = read_pins(file)
    if found.keys() <= known.keys():
        return
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps({**found, **known}, indent=2, sort_keys=True), encoding="utf-8")
    temporary.replace(file)


def pins_file(context: ToolContext | None) -> Path | None:
    """Beside the steps' private directories; None outside of a run."""
    return context.private.parent / PINS_FILE if context and context.private else None


def read_pins(file: Path) -> dict[str, str]:
    """Digests by the tools' names. Raises CorruptRecordError."""
    if not file.exists():
        return {}
    try:
        return _PINS.validate_json(file.read_bytes())
    except ValidationError as error:
        raise CorruptRecordError(f"{file} is damaged: {error}") from error
