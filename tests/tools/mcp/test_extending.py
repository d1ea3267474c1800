"""What the documentation says on adding an MCP server works as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from core.mcp import load_mcp_settings
from tests.tools.mcp.conftest import ROOT, Connect

PAGE = ROOT / "docs" / "extending.md"


def block(language: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## An MCP server") :]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_server_of_the_page_is_found_and_called(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "stock.py"
    script.write_text(block("python"), encoding="utf-8")
    (tmp_path / "mcp.json").write_text(block("json"), encoding="utf-8")
    monkeypatch.setenv("STOCK_SERVER", str(script))

    # The `python` of the page must be one that has the SDK.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    async with connect(**load_mcp_settings(tmp_path).mcpServers) as servers:
        assert servers.registry.names == ("mcp_stock_in_stock",)
        assert (await servers.call("mcp_stock_in_stock", article="lamp")).data == {"result": 4}
        assert servers.registry.get("mcp_stock_in_stock").annotations.risk == "low"
