"""This product as an MCP server, used by the SDK's own client."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from core.errors import BadInputError, ConfigError, SandboxUnavailableError
from core.message import ImagePart, TextPart
from core.settings import Settings, load_settings
from gateway.mcp_server import answer_of, serving, token_file
from gateway.mcp_server_http import http_app, read_or_make_token
from tests.fakes.mcp_http import served
from tools.base import ToolResult
from tools.sandbox.select import choose_sandbox

ROOT = Path(__file__).resolve().parents[2]
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


@pytest.fixture
async def settings(home: Path) -> Settings:
    home.mkdir()
    (home / ".env").touch()
    (home / "manus.toml").touch()
    loaded = load_settings()
    try:
        sandbox = await choose_sandbox(loaded.sandbox)
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    await sandbox.close()
    return loaded


@asynccontextmanager
async def over_http(settings: Settings) -> AsyncGenerator[tuple[str, str]]:
    """Its address, and the token."""
    token = read_or_make_token(token_file(settings.home))
    async with (
        serving(settings) as server,
        served(http_app(server, "127.0.0.1", token)) as address,
    ):
        yield f"{address}/mcp", token


def text_of(result: Any) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


async def test_tools_work_in_one_sandboxed_directory_over_stdio(settings: Settings) -> None:
    environment = {"MANUS_HOME": str(settings.home), "PATH": os.environ["PATH"]}
    parameters = StdioServerParameters(
        command=str(Path(sys.executable).parent / "manus"),
        args=["mcp", "serve", "--tools", "*_file", "--tools", "bash"],
        env=environment,
        cwd=str(ROOT),
    )
    async with Client(parameters) as client:
        offered = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"bash", "read_file", "write_file"} <= offered.keys()
        assert "python_execute" not in offered
        assert offered["read_file"].annotations
        assert offered["read_file"].annotations.read_only_hint
        wrote = await client.call_tool("write_file", {"path": "a.txt", "content": "from a client"})
        assert not wrote.is_error, text_of(wrote)
        shown = await client.call_tool("bash", {"command": "cat a.txt; ls /root /etc/shadow"})
        assert "from a client" in text_of(shown)
        assert "No such file" in text_of(shown) or "denied" in text_of(shown)
    place = settings.home / "mcp-server" / "workspace" / "shared" / "a.txt"
    assert place.read_text(encoding="utf-8") == "from a client"


async def test_every_tool_is_offered_but_those_that_need_a_run(settings: Settings) -> None:
    async with serving(settings) as server, Client(server) as client:
        offered = {tool.name for tool in (await client.list_tools()).tools}
        runs = {"plan_and_run", "run_status", "run_result", "cancel_run", "list_runs"}
        assert runs | {"bash", "python_execute", "str_replace_editor"} <= offered
        assert not offered & {"terminate", "ask_human"}
        result = await client.call_tool("python_execute", {"code": "output = {'answer': 6 * 7}"})
        assert result.structured_content == {"answer": 42}
        assert '"answer": 42' in text_of(result)
        wrong = await client.call_tool("bash", {"comand": "ls"})
        assert wrong.is_error
        assert "comand" in text_of(wrong)
        with pytest.raises(MCPError, match="no tool named 'terminate'"):
            await client.call_tool("terminate", {"status": "success"})


async def test_a_plan_that_cannot_run_is_refused_before_anything_starts(
    settings: Settings,
) -> None:
    loop = {"id": "a", "title": "a", "kind": "tool", "tool": "bash", "depends_on": ["a"]}
    async with serving(settings, ["*run*"]) as server, Client(server) as client:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, "give a goal or a plan"),
            ({"plan": {"title": "x", "steps": []}}, "plan: steps: "),
            ({"plan": {"title": "x", "steps": [loop]}}, "cycle a -> a"),
        ]
        for arguments, problem in wrong:
            refused = await client.call_tool("plan_and_run", arguments)
            assert refused.is_error
            assert problem in text_of(refused)
        none = await client.call_tool("run_result", {"run_key": "nothing"})
        assert "no run 'nothing'" in text_of(none)
        assert (await client.call_tool("list_runs", {})).structured_content == {"runs": []}


@pytest.mark.parametrize("content", ["", "\n", "short\n"])
def test_a_token_file_without_a_token_lets_nobody_in(tmp_path: Path, content: str) -> None:
    """An empty token would be matched by an empty header."""
    file = tmp_path / "token"
    file.write_text(content, encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no token"):
        read_or_make_token(file)


def test_a_token_that_others_can_read_is_none(tmp_path: Path) -> None:
    file = tmp_path / "home" / "token"
    token = read_or_make_token(file)
    assert (read_or_make_token(file), os.listdir(file.parent)) == (token, ["token"])
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        read_or_make_token(file)


def test_what_the_model_would_see_next_is_part_of_the_answer() -> None:
    """A browser's page is its state; a client has no turns in which to be shown it."""
    dot = ImagePart(media_type="image/png", data="AAAA")
    shown = answer_of(ToolResult(output="Opened", state=(TextPart(text="[1] | link"), dot)))
    assert text_of(shown) == "Opened[1] | link"
    assert [block.type for block in shown.content] == ["text", "text", "image"]


async def test_over_http_the_token_is_needed_and_works(settings: Settings) -> None:
    async with over_http(settings) as (url, token):
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            answers = await asyncio.gather(
                *(client.call_tool("bash", {"command": f"echo {n}"}) for n in range(3))
            )
            assert [text_of(a).split()[0] for a in answers] == ["0", "1", "2"]
    file = token_file(settings.home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_or_make_token(file) == token


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
        ({}, 200),
        ({"Origin": "http://127.0.0.1:1234"}, 200),
    ],
)
async def test_strangers_and_foreign_pages_are_turned_away(
    changed: dict[str, str], status: int, settings: Settings
) -> None:
    async with over_http(settings) as (url, token), httpx2.AsyncClient(trust_env=False) as http:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
            **changed,
        }
        answer = await http.post(url, json=INITIALIZE, headers=headers)
        assert answer.status_code == status


async def test_it_is_not_bound_to_every_address_and_unknown_tools_are_named(
    settings: Settings,
) -> None:
    async with serving(settings) as server:
        with pytest.raises(BadInputError, match="name the address that clients will use"):
            http_app(server, "0.0.0.0", "token")
    with pytest.raises(BadInputError, match="--tools nonsense: no such tool"):
        async with serving(settings, ["nonsense"]):
            raise AssertionError("it serves")
