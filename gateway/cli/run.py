"""``manus run`` and ``manus resume``: a run in this process, watched."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from rich.console import Console

from core.errors import BadInputError, EnvironmentUnusableError, RunFailedError, RunLockedError
from core.result import RunReport
from core.run import Decision, RunOptions
from core.settings import Settings, load_settings
from core.usage import Budget
from gateway.cli.exits import Exit, checked
from gateway.cli.live import LiveView, brief_reason
from gateway.server import ServerAddress, ensure_server, point_prefect_at, server_status
from tasks.lease import RunLease, is_held
from tasks.request import find_run, prepare, run_directory
from tasks.services import Services, open_services, using

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun

PLAN_SUFFIXES = (".yaml", ".yml", ".json")
NEW = "new"


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of ``manus run``."""

    what: str
    inputs: list[Path]
    variables: list[str]
    model: str
    max_cost: float | None
    max_tokens: int | None
    parallel: int | None
    as_json: bool
    approvals: str | None = None
    max_replans: int | None = None
    trust_inputs: bool = False
    agent: str | None = None

    def options(self) -> RunOptions:
        """Raises BadInputError for a variable that is not NAME=VALUE, or a number out of range."""
        return checked(
            RunOptions,
            vars=dict(_variable(v) for v in self.variables),
            inputs=tuple(str(p.absolute()) for p in self.inputs),
            model=self.model,
            max_parallel_steps=self.parallel,
            budget=_budget(self.max_cost, self.max_tokens),
            approvals=_approvals(self.approvals),
            max_replans=self.max_replans,
            trust_inputs=self.trust_inputs,
        )

    def parameters(self) -> dict[str, Any]:
        """Of the flow that plans. Raises BadInputError, see ``options``."""
        is_plan = self.what.endswith(PLAN_SUFFIXES) and "\n" not in self.what
        return {
            "goal": "" if is_plan else self.what,
            "plan": Path(self.what).absolute() if is_plan else None,
            "options": self.options(),
        }


@dataclass(frozen=True, slots=True)
class Resume:
    """The arguments of ``manus resume``."""

    run_key: str
    max_cost: float | None
    max_tokens: int | None
    as_json: bool


def run_command(request: Request) -> Exit:
    """Raises BadInputError, ConfigError and the like before anything starts."""
    if request.agent:
        from gateway.cli.agent import agent_command

        return agent_command(request)
    settings = load_settings()
    return asyncio.run(_run(settings, request.parameters(), NEW, as_json=request.as_json))


def resume_command(resume: Resume) -> Exit:
    """Raises RunNotFoundError or RunLockedError before anything starts."""
    settings = load_settings()
    run_key = find_run(settings.home, resume.run_key)
    if is_held(run_directory(settings.home, run_key)):
        raise RunLockedError(f"run {run_key} is being worked on; wait for it or stop it first")
    budget = _budget(resume.max_cost, resume.max_tokens)
    options = RunOptions(resume_from=run_key, budget=budget)
    parameters = {"goal": "", "plan": None, "options": options}
    return asyncio.run(_run(settings, parameters, run_key, as_json=resume.as_json))


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadInputError(f"--var {text}: must be NAME=VALUE")
    return name, value


def _approvals(word: str | None) -> Decision | None:
    """What was said, else to ask where somebody sits at a terminal.

    Raises:
        BadInputError: not one of the words.
    """
    if word is not None and word not in get_args(Decision):
        raise BadInputError(f"--approvals {word}: must be one of {', '.join(get_args(Decision))}")
    attended = sys.stdin.isatty() and sys.stderr.isatty()
    return cast(Decision | None, word) or ("ask" if attended else None)


def _budget(max_cost: float | None, max_tokens: int | None) -> Budget | None:
    if max_cost is None and max_tokens is None:
        return None
    cost = None if max_cost is None else Decimal(str(max_cost))
    return checked(Budget, max_cost_usd=cost, max_tokens=max_tokens)


async def _run(
    settings: Settings, parameters: dict[str, Any], run_key: str, *, as_json: bool
) -> Exit:
    async with open_services(settings) as services:
        _, request = prepare(services, new_key=run_key, **parameters)
        if request.plan is None and services.router.uses_only_local_model:
            say("no provider key is set: the built-in model plans; it is too small to plan well")
        address = start_server(services.settings)
        from flows.planning import plan_and_run

        launch = Launch(plan_and_run, _as_json(parameters), run_key)
        return await watch(services, launch, address, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Launch:
    """A flow to run in this process. ``parameters`` are JSON; ``run_key`` is NEW or one to resume.

    Make it when the server was started: importing a flow loads Prefect.
    """

    flow: Flow[..., Any]
    parameters: dict[str, Any]
    run_key: str

    async def create(self, home: Path) -> tuple[str, FlowRun]:
        """The run's key, and its flow run, not yet begun."""
        from gateway.runs import RUN_TAG, create_flow_run, mark_crashed

        sent = self.parameters
        if self.run_key == NEW:
            flow_run = await create_flow_run(self.flow, sent, name=None, tags=())
            return str(flow_run.id), flow_run
        lease = RunLease(run_directory(home, self.run_key))
        try:  # with the lease, or this would mark what another resume has begun meanwhile
            await mark_crashed(self.run_key, "its process died; the run was resumed")
        finally:
            lease.release()
        tags = (f"{RUN_TAG}{self.run_key}",)
        return self.run_key, await create_flow_run(self.flow, sent, name=None, tags=tags)


async def watch(
    services: Services, launch: Launch, address: ServerAddress, *, as_json: bool
) -> Exit:
    """Runs it to the end, shows how it goes and says how it went."""
    from gateway.runs import execute

    key, flow_run = await launch.create(services.settings.home)
    say(f"run {key}")
    say(f"watch {address.ui_url}/runs/flow-run/{flow_run.id}")
    view = LiveView(key, Console(stderr=True))
    shown: AbstractContextManager[Any] = view if sys.stderr.isatty() else nullcontext()
    with using(replace(services, listeners=(view.on_event,))) as used, shown:
        _cancel_on_interrupt(used)
        state = await execute(launch.flow, flow_run, launch.parameters)
    return await _conclude(services.settings, key, state, as_json=as_json)


def _as_json(parameters: dict[str, Any]) -> dict[str, Any]:
    plan, options = parameters["plan"], parameters["options"]
    return {
        "goal": parameters["goal"],
        "plan": str(plan) if plan else None,
        "options": options.model_dump(mode="json"),
    }


def start_server(settings: Settings) -> ServerAddress:
    """The server, started if it is ours to start, with Prefect's client pointed at it.

    Raises:
        EnvironmentUnusableError: it cannot be started, or PREFECT_API_URL does not answer.
    """
    address = ensure_server(settings, progress=say)
    if not address.local and not server_status(settings).healthy:
        raise EnvironmentUnusableError(
            f"the Prefect server at {address.api_url} does not answer; start it, or unset "
            "PREFECT_API_URL to use a local one"
        )
    # What happened is told by the command itself; the UI has the full log.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    point_prefect_at(address, settings)
    return address


def _cancel_on_interrupt(services: Services) -> None:
    """Ctrl-C cancels the run in good order; a second one is Python's own."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        say("cancelling; the run can be resumed")
        services.cancel_requested.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, services.cancel_requested.set)


async def _conclude(settings: Settings, key: str, state: Any, *, as_json: bool) -> Exit:
    if state.is_cancelled():
        say(f"cancelled\nmanus resume {key}")
        if as_json:
            sys.stdout.write(_cancelled(settings, key))
        return Exit.CANCELLED
    outcome = await outcome_of(state)
    if not isinstance(outcome, RunReport):
        say(f"manus resume {key}")
        raise outcome
    sys.stdout.write(
        outcome.model_dump_json(indent=2) + "\n" if as_json else _closing(settings, outcome)
    )
    if outcome.status == "completed":
        return Exit.COMPLETED
    say(f"manus resume {key}")
    return Exit.OVER_BUDGET if outcome.status == "over_budget" else Exit.FAILED


def _cancelled(settings: Settings, key: str) -> str:
    """The report; what is told of an error where it was cancelled before it had a plan."""
    report = run_directory(settings.home, key) / "report.json"
    if report.exists():
        return report.read_text(encoding="utf-8") + "\n"
    problem = {"error": "Cancelled", "message": f"run {key} was cancelled before it had a plan"}
    return json.dumps({**problem, "exit_code": Exit.CANCELLED}) + "\n"


async def outcome_of(state: Any) -> Any:
    """What a flow run left: its result, its report where it failed, or what it raised."""
    outcome = await state.aresult(raise_on_failure=False)
    return outcome.details["report"] if isinstance(outcome, RunFailedError) else outcome


def _closing(settings: Settings, report: RunReport) -> str:
    files = [
        str(run_directory(settings.home, report.run_key) / "workspace" / s.step_id / f.path)
        for s in report.steps
        if s.result
        for f in s.result.files
    ]
    listed = "".join(f"  {f}\n" for f in [f"{report.directory}/report.md", *files])
    wrong = "".join(
        f"  {s.step_id}: {s.status.value}: {brief_reason(s.reason)}\n"
        for s in report.steps
        if s.reason
    )
    return f"\n{report.summary}\n\n{report.status}: {report.headline}\n{wrong}{listed}"


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
