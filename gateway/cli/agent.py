"""``manus run --agent``: a prompt goes to one agent, and no model plans."""

from __future__ import annotations

import asyncio
from typing import Any

from core.errors import BadInputError
from core.run import RunOptions
from core.settings import Settings, load_settings
from gateway.cli.exits import Exit
from gateway.cli.run import NEW, PLAN_SUFFIXES, Launch, Request, start_server, watch
from tasks.conversation import single_step_plan
from tasks.request import prepare
from tasks.services import open_services


def agent_command(request: Request) -> Exit:
    """Raises BadInputError before anything starts."""
    if request.what.endswith(PLAN_SUFFIXES) and " " not in request.what.strip():
        raise BadInputError(f"{request.what}: a plan file names its agents itself; drop --agent")
    return asyncio.run(_run(load_settings(), request))


async def _run(settings: Settings, request: Request) -> Exit:
    assert request.agent is not None
    options, prompt = request.options(), request.what.strip()
    if not prompt:
        raise BadInputError("give a prompt")
    async with open_services(settings) as services:
        prepare(services, "", single_step_plan(prompt, request.agent, options), options, NEW)
        address = start_server(settings)
        from flows.agent import run_agent

        launch = Launch(run_agent, agent_parameters(prompt, request.agent, options), NEW)
        return await watch(services, launch, address, as_json=request.as_json)


def agent_parameters(prompt: str | None, agent: str, options: RunOptions) -> dict[str, Any]:
    """The parameters of ``run_agent`` as JSON."""
    return {"prompt": prompt, "agent": agent, "options": options.model_dump(mode="json")}
