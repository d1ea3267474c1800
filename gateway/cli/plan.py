"""``manus plan``: a draft to read, change and run later."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from core.errors import BadInputError
from core.plan import Plan
from core.run import RunOptions
from core.settings import Settings, load_settings
from gateway.cli.exits import Exit, write_file
from gateway.cli.run import outcome_of, say, start_server
from tasks.request import prepare
from tasks.services import open_services, using


def plan_command(
    goal: str, output: Path | None, inputs: list[Path], model: str, *, as_json: bool
) -> Exit:
    """Writes the plan as YAML to ``output`` or stdout; with ``as_json`` as JSON to stdout.

    Raises:
        BadInputError: ``output`` exists or has no directory to be in, or an input does not exist.
    """
    if output and output.exists():
        raise BadInputError(f"{output} exists already; choose another name")
    if output and not output.absolute().parent.is_dir():
        raise BadInputError(f"{output}: no such directory")
    options = RunOptions(inputs=tuple(str(p.absolute()) for p in inputs), model=model)
    drafted = asyncio.run(_draft(load_settings(), goal, options))
    from tasks.draft import to_yaml

    text = drafted.model_dump_json(indent=2) + "\n" if as_json else to_yaml(drafted)
    if output:
        write_file(output, to_yaml(drafted))
        say(f"wrote {output}; run it with: manus run {output}")
    if as_json or not output:
        sys.stdout.write(text)
    return Exit.COMPLETED


async def _draft(settings: Settings, goal: str, options: RunOptions) -> Plan:
    async with open_services(settings) as services:
        prepare(services, goal, None, options, "new")
        start_server(settings)
        from flows.planning import plan_only
        from gateway.runs import create_flow_run, execute

        parameters: dict[str, Any] = {"goal": goal, "options": options.model_dump(mode="json")}
        flow_run = await create_flow_run(plan_only, parameters, name=None, tags=())
        with using(services):
            state = await execute(plan_only, flow_run, parameters)
        drafted = await outcome_of(state)
    if not isinstance(drafted, Plan):
        raise drafted
    return drafted
