"""Runs asked for through the server's tools, on a real Prefect server and with no worker."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from prefect.client.orchestration import get_client

from core.errors import EnvironmentUnusableError
from core.settings import load_settings
from gateway.mcp_server import serving
from gateway.mcp_server_runs import DEPLOYMENT
from gateway.runs import start_run

STEP = {"id": "a", "title": "a", "kind": "tool", "tool": "bash", "args": {"command": "true"}}


async def register() -> None:
    """The deployment as a name on the server; nobody is to run it."""
    flow, _, name = DEPLOYMENT.partition("/")
    async with get_client() as client:
        flow_id = await client.create_flow_from_name(flow)
        await client.create_deployment(flow_id, name, enforce_parameter_schema=False)


async def test_a_run_is_started_through_the_deployment_followed_and_cancelled(
    flow_home: Path,
) -> None:
    async with serving(load_settings(), ["*run*"]) as server, Client(server) as client:

        async def told(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result.content
            return result.structured_content

        plan = {"title": "One step", "summarize": False, "steps": [STEP]}
        await register()
        key = (await told("plan_and_run", plan=plan, max_cost_usd=0.5))["run_key"]
        async with get_client() as prefect:
            parameters = (await prefect.read_flow_run(uuid.UUID(key))).parameters
        assert parameters["plan"]["steps"][0]["args"] == {"command": "true"}
        assert parameters["options"]["budget"]["max_cost_usd"] == "0.5"
        assert (await told("run_status", run_key=key))["state"] == "Scheduled"
        early = await client.call_tool("run_result", {"run_key": key})
        assert early.is_error
        assert (await told("cancel_run", run_key=key))["cancelled"] is True
        assert (await told("run_status", run_key=key))["state"] == "Cancelled"
        assert (await told("cancel_run", run_key=key))["cancelled"] is False
        unknown = await client.call_tool("run_status", {"run_key": str(uuid.uuid4())})
        assert unknown.is_error


async def test_a_deployment_that_is_not_there_is_named(flow_home: Path) -> None:
    with pytest.raises(
        EnvironmentUnusableError, match="no deployment 'plan-and-run/nobody'; `manus "
    ):
        await start_run("plan-and-run/nobody", {})
