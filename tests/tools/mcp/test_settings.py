"""``mcp.json``: what may be in it, and what is said where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.mcp import load_mcp_settings


def write(home: Path, *, servers: Any) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    file = home / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return file


def test_servers_of_every_type_load_and_variables_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "t0ken")
    write(
        tmp_path,
        servers={
            "my_server": {"type": "stdio", "command": "python", "args": ["-m", "my_mcp_server"]},
            "short": {"command": "x", "env": {"TOKEN": "a ${A_TOKEN}"}, "trust": True},
            "web": {"url": "http://127.0.0.1:1/mcp", "headers": {"Authorization": "${A_TOKEN}"}},
            "old": {"type": "sse", "url": "http://127.0.0.1:1/sse", "tools": ["read_*"]},
            "off": {"command": "${NOT_SET}", "disabled": True},
        },
    )
    settings = load_mcp_settings(tmp_path)
    assert {n: s.transport for n, s in settings.enabled.items()} == {
        "my_server": "stdio",
        "short": "stdio",
        "web": "streamable-http",
        "old": "sse",
    }
    assert settings.mcpServers["short"].env == {"TOKEN": "a t0ken"}
    assert settings.mcpServers["web"].headers == {"Authorization": "t0ken"}


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ({"command": "x", "comand": "y"}, "unknown key 'mcpServers.s.comand'"),
        ({"command": "${NOT_SET_HERE}"}, "mcpServers.s.command: the environment variable NOT_SET_"),
        ({"args": ["${NOT_SET_HERE}"]}, "mcpServers.s.args.0: the environment variable NOT_SET_"),
        ({"type": "stdio"}, "a stdio server needs 'command'"),
        ({"type": "sse", "url": "ftp://x"}, "a server of type sse needs 'url'"),
        ({"command": "x", "url": "http://x"}, "'url' has no meaning for a server of type stdio"),
        ({"url": "http://x", "env": {"A": "b"}}, "'env' has no meaning"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_key(
    server: Any, problem: str, tmp_path: Path
) -> None:
    file = write(tmp_path, servers={"s": server})
    with pytest.raises(ConfigError) as caught:
        load_mcp_settings(tmp_path)
    assert str(file) in str(caught.value)
    assert problem in str(caught.value)


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mcp\.json: not JSON"):
        load_mcp_settings(tmp_path)
