"""Taking a step over from an earlier run, and keeping it for a later one.

Taking over is a task run of its own, committed under the step's key like a step that ran: a resume
replays it. It is journaled before the first file is copied, so that one cut short by a kill is
finished on resume with the same step, however old that is by then.

A step is the same where its text, its resolved inputs (files by digest), its agent with the prompt,
its tools with their code, its route with the models that may answer, and this program's version are
the same. Limits, retries and approvals may differ: they do not change what a completed step is.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from core.base import as_stored
from core.errors import ToolFailedError
from core.fingerprint import file_digest, fingerprint
from core.plan import PlanStep
from core.result import ReusedFrom, StepResult
from core.usage import UsageEvent
from tasks.inputs import StepInputs
from tasks.journal import ReuseBegun
from tasks.policies import KEY_PARAMETER, state_of
from tasks.run import Position, Run, current_run
from tasks.step import StepWork, allowed_tools, route_of
from tasks.step_cache import KeptStep, StepCache, StepIdentity
from tasks.store import raise_if_unsaved
from tools.base import BaseTool

_log = logging.getLogger(__name__)
_DOES_NOT_DECIDE = {
    "cache_ttl_seconds",
    "timeout_seconds",
    "retries",
    "optional",
    "approval",
    "on_unknown",
    "depends_on",  # whose results are among the inputs
}


@task(task_run_name="{label}", cache_policy=KEY_PARAMETER, persist_result=True)
async def reuse_step(result: StepResult, key: str, label: str) -> StepResult:
    """Commits another run's result as this run's own, and accounts for what that saved."""
    run, origin = current_run(), result.reused_from
    assert origin is not None
    get_run_logger().info("reused from run %s, %.0f s old", origin.run_key, origin.age_seconds)
    run.emit(_row(run, result, origin))
    return result


async def take_over(
    run: Run, work: StepWork, after: Sequence[State[Any]], *, is_first: bool
) -> State[Any] | None:
    """The state of the step as taken over, ``None`` where it is to be run.

    Args:
        is_first: nothing was ever begun of this step in this run.
    """
    key = Position(work.step.id, work.attempt).step_key(run.key)
    if work.step.cache_ttl_seconds is None or await run.store.aexists(key):
        return None
    kept = await _restored(run, work, is_first=is_first)
    if kept is None:
        return None
    label = f"{work.label} (reused)"
    result = as_stored(kept.taken_over(work.attempt))
    state = await state_of(reuse_step, result=result, key=key, label=label, after=after)
    raise_if_unsaved(run.store)
    return state


async def keep(run: Run, work: StepWork, state: State[Any]) -> None:
    """Keeps a step that this run has just completed. What hinders it is told in the log."""
    if work.step.cache_ttl_seconds is None or not isinstance(work.inputs, StepInputs):
        return
    if not state.is_completed() or state.name == "Cached":
        return
    result: StepResult = await state.aresult()
    identity = identify(run, work.step, work.inputs)
    directory = run.workspace.step(work.step.id)
    try:
        await asyncio.to_thread(_cache(run).keep, identity, run.key, result, directory)
    except (OSError, ToolFailedError) as error:  # the step itself is done and committed
        _log.warning("step '%s' cannot be kept for later runs: %s", work.step.id, error)


async def _restored(run: Run, work: StepWork, *, is_first: bool) -> KeptStep | None:
    """The kept step, its files in place; ``None`` where there is none that can be used."""
    step = work.step
    begun = run.journal.reuse_of(step.id, work.attempt)
    if not isinstance(work.inputs, StepInputs) or not (is_first or begun):
        return None
    cache = _cache(run)
    asked = begun or identify(run, step, work.inputs).key
    ttl_seconds = None if begun else step.cache_ttl_seconds
    try:
        kept = await asyncio.to_thread(cache.find, asked, ttl_seconds)
        if kept is not None:
            if not begun:
                run.journal.append(ReuseBegun(step_id=step.id, attempt=work.attempt, key=asked))
            await asyncio.to_thread(cache.restore, kept, run.workspace.step(step.id))
    except (OSError, ToolFailedError) as error:
        _log.warning("step '%s' cannot be reused and is run: %s", step.id, error)
        return None
    return kept


def _cache(run: Run) -> StepCache:
    settings = run.services.settings
    return StepCache(settings.home / "cache", settings.cache)


def _row(run: Run, result: StepResult, origin: ReusedFrom) -> UsageEvent:
    """What the work cost when it was done is what is saved now; unknown where a price was."""
    spend = origin.spend
    return UsageEvent(
        event_id=fingerprint(run.key, result.step_id, result.attempt, "step reused")[:32],
        kind="step",
        run_key=run.key,
        step_id=result.step_id,
        attempt=result.attempt,
        operation_name="invoke_agent",
        cache_hit=True,
        input_tokens=spend.usage.input_tokens,
        output_tokens=spend.usage.output_tokens,
        cost_usd=None if spend.unpriced_calls else spend.cost_usd,
    )


def identify(run: Run, step: PlanStep, inputs: StepInputs) -> StepIdentity:
    """The step's identity within this run's configuration."""
    services = run.services
    agent = services.agents.get(step.agent) if step.kind == "agent" else None
    names = allowed_tools(step, agent, services.tools.names)
    route = route_of(run, step)
    deployments = services.router.deployments_of(route)
    key = fingerprint(
        services.settings.cache.namespace,
        version("manus-flows"),
        step.model_dump(mode="json", exclude=_DOES_NOT_DECIDE),
        inputs,
        agent,
        (route, deployments),
        services.tools.definitions(names),
        [_code_digest(services.tools.get(name)) for name in names],
    )
    return StepIdentity(key, route, deployments)


def _code_digest(tool: BaseTool) -> str:
    """Of the module that the tool is written in; a tool may change without its definition."""
    source = inspect.getsourcefile(type(tool))
    return file_digest(Path(source)) if source else ""
