"""Runs as tools: started through the deployment, so that they outlive whoever asked for them."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from core.base import JsonObject
from core.errors import BadInputError, InvalidArgumentsError, RunNotFoundError, ToolFailedError
from core.plan import Plan, check_structure
from core.result import RunReport
from core.run import RunOptions
from core.settings import Settings, first_problem
from core.usage import Budget
from gateway.server import ensure_server, point_prefect_at
from gateway.worker import deploy, start_worker
from tasks.request import find_run, run_directory
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema

DEPLOYMENT = "plan-and-run/plan-and-run"
_RUN_KEY: JsonObject = {"type": "string", "description": "The run's key, or the beginning of it."}
_READS = ToolAnnotations(read_only=True, idempotent=True)


def run_tools(settings: Settings) -> tuple[BaseTool, ...]:
    """The tools about runs of this MANUS_HOME."""
    prefect = _Prefect(settings)
    return (
        PlanAndRun(prefect),
        RunStatus(prefect),
        RunResult(prefect),
        CancelRun(prefect),
        ListRuns(prefect),
    )


class _Prefect:
    """The server, worker and deployments, brought up when the first tool needs them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._up: dict[bool, asyncio.Future[str]] = {}

    async def ready(self, *, to_run: bool = False) -> str:
        """The address of the UI, with a server behind it; ``to_run``, a worker too.

        Raises:
            EnvironmentUnusableError: it cannot be started.
        """
        bringing = self._up.get(to_run)
        if bringing is None or (bringing.done() and bringing.exception()):
            bringing = asyncio.ensure_future(asyncio.to_thread(self._bring_up, to_run))
            self._up[to_run] = bringing
        return await asyncio.shield(bringing)

    def _bring_up(self, to_run: bool) -> str:
        address = ensure_server(self.settings, progress=_say)
        point_prefect_at(address, self.settings)
        if to_run and address.local:
            deploy()
            start_worker(self.settings)
        return address.ui_url

    def key_of(self, name: str) -> str:
        """Raises ToolFailedError for a run that is not here."""
        try:
            return find_run(self.settings.home, name)
        except RunNotFoundError as error:
            raise ToolFailedError(str(error)) from error


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")  # stdout belongs to the protocol


class _RunTool(BaseTool):
    def __init__(self, prefect: _Prefect) -> None:
        self.prefect = prefect


class PlanAndRun(_RunTool):
    name = "plan_and_run"
    description = (
        "Starts a run in the background and returns its key at once. Give a goal, which a model "
        "turns into a plan, or a plan: an object with 'title' and 'steps'."
    )
    parameters = object_schema(
        goal={"type": "string", "description": "What is wanted, in words."},
        plan={"type": "object", "description": "A plan to run instead of drafting one."},
        vars={"type": "object", "description": "Values for the plan's templates."},
        model={"type": "string", "description": "A configured route, or provider:model."},
        max_cost_usd={"type": "number", "exclusiveMinimum": 0},
    )
    annotations = ToolAnnotations(risk="high", network=True)

    async def execute(self, **wanted: Any) -> ToolResult:
        parameters = _parameters(wanted)
        ui = await self.prefect.ready(to_run=True)
        from gateway.runs import start_run

        key = await start_run(DEPLOYMENT, parameters)
        return self.success_response({"run_key": key, "watch": f"{ui}/runs/flow-run/{key}"})


def _parameters(wanted: JsonObject) -> JsonObject:
    """Of the flow. Raises InvalidArgumentsError for what no run could begin with."""
    goal, plan = wanted.get("goal") or "", wanted.get("plan")
    if not goal.strip() and plan is None:
        raise InvalidArgumentsError("give a goal or a plan")
    try:
        if plan is not None:
            checked = Plan.model_validate(plan)
            check_structure(checked)
            plan = checked.model_dump(mode="json")
        cost = wanted.get("max_cost_usd")
        options = RunOptions(
            vars=wanted.get("vars", {}),
            model=wanted.get("model", "default"),
            budget=None if cost is None else Budget(max_cost_usd=Decimal(str(cost))),
            tags=("mcp",),
        )
    except ValidationError as error:
        raise InvalidArgumentsError(f"plan: {first_problem(error)}") from error
    except BadInputError as error:
        raise InvalidArgumentsError(f"plan: {error}") from error
    return {"goal": goal, "plan": plan, "options": options.model_dump(mode="json")}


class RunStatus(_RunTool):
    name = "run_status"
    description = "How a run is doing: its state, and the state of each step that began."
    parameters = object_schema(("run_key",), run_key={**_RUN_KEY, "description": "The run's key."})
    annotations = _READS

    async def execute(self, run_key: str) -> ToolResult:
        await self.prefect.ready()
        from gateway.runs import read_progress

        progress = await read_progress(run_key)
        if progress is None:
            return self.fail_response(f"no run '{run_key}'")
        return self.success_response(progress.model_dump(mode="json"))


class RunResult(_RunTool):
    name = "run_result"
    description = "What an ended run came to: summary, each step's result, files and cost."
    parameters = object_schema(("run_key",), run_key=_RUN_KEY)
    annotations = _READS

    async def execute(self, run_key: str) -> ToolResult:
        key = self.prefect.key_of(run_key)
        file = run_directory(self.prefect.settings.home, key) / "report.json"
        if not file.is_file():
            return self.fail_response(f"run {key} has not ended; run_status tells how far it is")
        report = RunReport.model_validate_json(file.read_bytes())
        return self.success_response(
            {
                "run_key": key,
                "status": report.status,
                "headline": report.headline,
                "summary": report.summary,
                "cost_usd": str(report.spend.cost_usd),
                "directory": report.directory,
                "steps": [s.model_dump(mode="json", exclude={"notes"}) for s in report.steps],
            }
        )


class CancelRun(_RunTool):
    name = "cancel_run"
    description = "Stops a run. What it finished is kept, and `manus resume` goes on with it."
    parameters = object_schema(("run_key",), run_key={**_RUN_KEY, "description": "The run's key."})
    annotations = ToolAnnotations(idempotent=True, risk="high")

    async def execute(self, run_key: str) -> ToolResult:
        await self.prefect.ready()
        from gateway.runs import cancel_run

        cancelled = await cancel_run(run_key)
        return self.success_response({"run_key": run_key, "cancelled": cancelled > 0})


class ListRuns(_RunTool):
    name = "list_runs"
    description = "The runs of this machine, newest first."
    parameters = object_schema(limit={"type": "integer", "minimum": 1, "maximum": 200})
    annotations = _READS

    async def execute(self, limit: int = 20) -> ToolResult:
        from gateway.cli.listing import list_runs

        found = await asyncio.to_thread(list_runs, self.prefect.settings.home, limit)
        return self.success_response({"runs": [run.model_dump(mode="json") for run in found]})
