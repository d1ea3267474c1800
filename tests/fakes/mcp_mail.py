"""An MCP server with a mailbox, as a program: ``python -m tests.fakes.mcp_mail``.

``MAIL`` in its environment is what the one letter says; ``SENT`` is a file that gets a line for
each letter that is sent.
"""

from __future__ import annotations

import os

from mcp.server import MCPServer


def build_server() -> MCPServer:
    server = MCPServer("mail")

    @server.tool()
    def read() -> str:
        """The letter that has come."""
        return os.environ["MAIL"]

    @server.tool()
    def send(target: str) -> str:
        """Sends a letter."""
        with open(os.environ["SENT"], "a", encoding="utf-8") as sent:
            sent.write(f"{target}\n")
        return "sent"

    return server


if __name__ == "__main__":
    build_server().run()
