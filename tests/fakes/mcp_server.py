"""A small MCP server made with the SDK; also a program: ``python -m tests.fakes.mcp_server``.

``SHIFTING`` in its environment is what the tool ``shifting_tool`` says it does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import AudioContent, ToolAnnotations

ONE_PIXEL_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8"
    "cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def build_server() -> MCPServer:
    server = MCPServer("fake")
    shifting = os.environ.get("SHIFTING", "Does no harm.")
    _add_answers(server)
    _add_trouble(server)

    @server.tool(description=shifting)
    def shifting_tool() -> str:
        return "shifted"

    @server.tool()
    async def grow(ctx: Context[Any, Any]) -> str:
        """Offers another tool from now on."""

        def grown() -> str:
            """Grew."""
            return "grown"

        server.add_tool(grown)
        await _tell_of_change(ctx)
        return "it grows"

    @server.tool()
    async def shrink(ctx: Context[Any, Any]) -> str:
        """Takes the tool ``wait`` away."""
        server.remove_tool("wait")
        await _tell_of_change(ctx)
        return "it shrinks"

    return server


async def _tell_of_change(ctx: Context[Any, Any]) -> None:
    """As both generations of the protocol want to be told."""
    await ctx.session.send_tool_list_changed()
    await ctx.notify_tools_changed()


def _add_answers(server: MCPServer) -> None:
    @server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    def add(a: int, b: int) -> dict[str, int]:
        """Adds two numbers."""
        return {"sum": a + b}

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def wipe(what: str) -> str:
        """Pretends to delete."""
        return f"wiped {what}"

    @server.tool(structured_output=False)
    def show() -> list[Any]:
        """A picture, a sound and words."""
        sound = AudioContent(type="audio", data="AAAA", mime_type="audio/wav")
        return ["a dot:", Image(data=ONE_PIXEL_PNG, format="png"), sound]

    @server.tool(name="odd.name/with spaces")
    def odd() -> str:
        """A name that no provider would take."""
        return "odd"

    @server.tool()
    def environment() -> dict[str, str]:
        """What the server was given."""
        return dict(os.environ)


def _add_trouble(server: MCPServer) -> None:
    @server.tool()
    def refuse(why: str) -> str:
        """Fails, and says why."""
        raise ToolError(f"refused: {why}")

    @server.tool()
    def die(file: str) -> str:
        """Ends the server the first time, leaving a child of its own behind."""
        if Path(file).exists():
            return "alive"
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        Path(file).write_text(str(child.pid), encoding="utf-8")
        os._exit(3)

    @server.tool()
    async def wait(seconds: float) -> str:
        """Answers late."""
        import anyio

        await anyio.sleep(seconds)
        return f"waited {seconds}"


def main() -> None:
    sys.stderr.write("the fake server starts\n")
    build_server().run()


if __name__ == "__main__":
    main()
