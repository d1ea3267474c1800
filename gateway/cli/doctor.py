"""``manus doctor``: what is configured, reachable and installed, and what is missing."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.base import Value
from core.errors import ManusError
from core.settings import Settings, load_settings
from gateway.cli.exits import Exit


class Finding(Value):
    """``missing`` stops runs; ``limited`` costs a feature, which ``detail`` names."""

    subject: str
    state: Literal["ok", "limited", "missing"]
    detail: str


def doctor_command(*, as_json: bool) -> Exit:
    """Returns ENVIRONMENT if something that every run needs is missing."""
    findings = asyncio.run(examine(load_settings()))
    if as_json:
        document = {"findings": [f.model_dump(mode="json") for f in findings]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        table = Table("what", "state", "detail")
        for finding in findings:
            table.add_row(finding.subject, finding.state, escape(finding.detail))
        Console().print(table)
    missing = any(f.state == "missing" for f in findings)
    return Exit.ENVIRONMENT if missing else Exit.COMPLETED


async def examine(settings: Settings) -> tuple[Finding, ...]:
    checks: list[Callable[[Settings], Coroutine[Any, Any, list[Finding]]]] = [
        _home,
        _sandbox,
        _models,
        _tokens,
        _server,
        _mcp,
        _programs,
    ]
    return tuple([finding for check in checks for finding in await check(settings)])


async def _home(settings: Settings) -> list[Finding]:
    return [Finding(subject="MANUS_HOME", state="ok", detail=str(settings.home))]


async def _sandbox(settings: Settings) -> list[Finding]:
    from tools.sandbox.select import choose_sandbox

    try:
        sandbox = await choose_sandbox(settings.sandbox, settings.daytona)
    except ManusError as error:
        return [Finding(subject="sandbox", state="missing", detail=str(error))]
    state = "limited" if sandbox.level == "rlimits" else "ok"
    return [Finding(subject="sandbox", state=state, detail=sandbox.level)]


async def _models(settings: Settings) -> list[Finding]:
    from providers.factory import build_router

    try:
        router = build_router(settings)
    except ManusError as error:
        return [Finding(subject="models", state="missing", detail=str(error))]
    routes = [
        Finding(subject=f"route {name}", state="ok", detail=" -> ".join(deployments))
        for name, deployments in router.describe().items()
    ]
    statuses = await router.get_statuses()
    await router.close()
    return routes + [
        Finding(
            subject=f"provider {s.name}",
            state="ok" if s.key_present and s.reachable is not False else "limited",
            detail=s.detail or ("reachable" if s.reachable else "not asked"),
        )
        for s in statuses
    ]


async def _tokens(settings: Settings) -> list[Finding]:
    from providers.token_encodings import encoding_problem

    problem = encoding_problem("o200k_base") or encoding_problem("cl100k_base")
    detail = f"estimated for OpenAI's models: {problem}" if problem else "counted without asking"
    return [Finding(subject="tokens", state="limited" if problem else "ok", detail=detail)]


async def _server(settings: Settings) -> list[Finding]:
    from gateway.server import server_status

    status = server_status(settings)
    where = status.ui_url or "none yet; it starts with the first run"
    if status.healthy or (status.local and status.pid is None):
        return [Finding(subject="Prefect server", state="ok", detail=where)]
    return [Finding(subject="Prefect server", state="missing", detail=f"{where} does not answer")]


async def _mcp(settings: Settings) -> list[Finding]:
    from core.mcp import load_mcp_settings
    from tools.mcp.servers import connect_servers
    from tools.registry import ToolRegistry
    from tools.resources import resources

    try:
        mcp = load_mcp_settings(settings.home)
    except ManusError as error:
        return [Finding(subject="mcp.json", state="missing", detail=str(error))]
    async with resources() as scope:
        statuses = await connect_servers(mcp, settings.home, ToolRegistry(), scope)
    return [
        Finding(
            subject=f"MCP server {status.server}",
            state="ok" if status.state == "connected" and not status.detail else "limited",
            detail="; ".join(p for p in (f"{len(status.tools)} tools", status.detail) if p),
        )
        for status in statuses
    ]


async def _programs(settings: Settings) -> list[Finding]:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    detail = browser or "not installed: no browser tests and screenshots"
    return [Finding(subject="Chromium", state="ok" if browser else "limited", detail=detail)]
