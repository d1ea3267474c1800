"""Six servers that others wrote, used by an agent in a run."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from core.plan import Plan, PlanStep
from tests.fakes.mcp_http import served
from tests.fakes.mcp_programs import program
from tests.fakes.script import Answer, ScriptedCall
from tests.fakes.scripts import in_turn
from tests.flows.conftest import Stage

AGENT = """\
---
description: Works with the tools of MCP servers.
tools: ["mcp_*", terminate]
---
Use the tools.
"""


def configure(home: Path, servers: Mapping[str, Any]) -> None:
    (home / "agents").mkdir(parents=True)
    trusted = {name: {"risk": "low", "trust": True, **s} for name, s in servers.items()}
    (home / "mcp.json").write_text(json.dumps({"mcpServers": trusted}), encoding="utf-8")
    (home / "agents" / "porter.md").write_text(AGENT, encoding="utf-8")


async def answers_of(stage: Stage, *rounds: tuple[ScriptedCall, ...]) -> dict[str, str]:
    """Has an agent make these calls, turn by turn; what each tool answered."""
    asked = [Answer(tool_calls=calls) for calls in rounds]
    end = {"status": "success", "message": "done"}
    stage.model.script = in_turn([*asked, Answer(tool_calls=(ScriptedCall("terminate", end),))])
    step = PlanStep(id="a", title="a", agent="porter", instructions="Use every server.")
    _, report = await stage.run(
        Plan(title="Servers", steps=(step,), summarize=False), approvals="allow"
    )
    assert report.status == "completed", report.steps
    messages = stage.model.requests[-1].messages
    answers = [m["content"] for m in messages if m["role"] == "tool"]
    names = [call.name for calls in rounds for call in calls]
    return {n: str(a) for n, a in zip(names, answers, strict=True)}


def git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_git_and_time(stage: Stage, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    (repository / "a.txt").write_text("a", encoding="utf-8")
    git(repository, "add", "a.txt")
    git(repository, "commit", "--quiet", "--message", "The first of all")
    configure(
        stage.home,
        {
            "git": {"command": "mcp-server-git"},
            "time": {"command": "mcp-server-time", "args": ["--local-timezone", "UTC"]},
        },
    )
    zones = {"source_timezone": "UTC", "target_timezone": "Asia/Tokyo", "time": "12:00"}
    answers = await answers_of(
        stage,
        (
            ScriptedCall("mcp_git_git_log", {"repo_path": str(repository)}),
            ScriptedCall("mcp_time_convert_time", zones),
        ),
    )
    assert "The first of all" in answers["mcp_git_git_log"]
    assert "T21:00:00+09:00" in answers["mcp_time_convert_time"]


async def test_everything_filesystem_and_memory(stage: Stage, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "note.txt").write_text("kept in a file", encoding="utf-8")
    scope = "@modelcontextprotocol"
    configure(
        stage.home,
        {
            "everything": node_server(f"{scope}/server-everything"),
            "files": node_server(f"{scope}/server-filesystem", str(files)),
            "memory": {
                **node_server(f"{scope}/server-memory"),
                "env": {"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")},
            },
        },
    )
    entity = {"name": "Prague", "entityType": "city", "observations": ["lies on the Vltava"]}
    answers = await answers_of(
        stage,
        (
            ScriptedCall("mcp_everything_get-sum", {"a": 19, "b": 23}),
            ScriptedCall("mcp_everything_get-tiny-image", {}),
            ScriptedCall("mcp_files_read_text_file", {"path": str(files / "note.txt")}),
            ScriptedCall("mcp_memory_create_entities", {"entities": [entity]}),
        ),
        (
            ScriptedCall("mcp_memory_search_nodes", {"query": "Vltava"}),
            ScriptedCall("mcp_files_write_file", {"path": "/etc/stray", "content": "x"}),
        ),
    )
    assert "42" in answers["mcp_everything_get-sum"]
    assert "kept in a file" in answers["mcp_files_read_text_file"]
    assert "Prague" in answers["mcp_memory_search_nodes"]
    assert "denied" in answers["mcp_files_write_file"]
    pictures = [r for r in stage.model.requests if "image/png;base64" in json.dumps(r.body)]
    assert pictures


def node_server(package: str, *arguments: str) -> dict[str, Any]:
    node, script = program(package, "dist/index.js")
    return {"command": node, "args": [script, *arguments]}


async def test_a_browser_behind_a_server_opens_a_page(stage: Stage) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    node, script = program("@playwright/mcp", "cli.js")
    options = ["--headless", "--no-sandbox", "--isolated", "--executable-path", chromium]
    configure(stage.home, {"browser": {"command": node, "args": [script, *options]}})

    async def page(request: Any) -> HTMLResponse:
        return HTMLResponse("<title>Hall</title><button>Open the door</button>")

    async with served(Starlette(routes=[Route("/", page)])) as address:
        answers = await answers_of(
            stage,
            (ScriptedCall("mcp_browser_browser_navigate", {"url": f"{address}/"}),),
            (ScriptedCall("mcp_browser_browser_snapshot", {}),),
        )
    assert 'button "Open the door"' in answers["mcp_browser_browser_snapshot"]
