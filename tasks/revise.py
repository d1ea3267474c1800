"""Revising a plan whose steps ended badly: what is finished stays, the rest is planned anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from core.base import Value, is_object
from core.errors import PlanError
from core.fingerprint import fingerprint
from core.message import Message, system, user
from core.plan import Plan
from core.result import StepReport, StepStatus
from core.untrusted import marked
from tasks.draft import announce
from tasks.execute import StepOutcome
from tasks.journal import AttemptFailed
from tasks.model_call import DurableModel
from tasks.plan_book import overview
from tasks.planner import agents_text, ask_for_plan, checked_plan, has_small_model
from tasks.policies import KEY_PARAMETER, is_infrastructure_failure, state_of
from tasks.run import Position, Run, current_run
from tasks.store import once, raise_if_unsaved, read_record
from tasks.taint import is_tainted

MAX_RESULT_CHARS = 3_000

_PROMPT = """\
You revise a plan that was carried out in part, because steps of it ended badly.

- Finished steps stay as they are; steps may depend on them by their ids.
- Give only the steps that remain to be done, for all of the goal that is still open.
- Take another way around what went wrong; the same instructions would only fail again.
- Write instructions that stand on their own: the agent sees them, the goal, and the results of
  the steps it depends on, and nothing else.

Agents:
{agents}
"""


class Revision(Value):
    """What is committed: the new version, the steps of the last that hold, and those replaced."""

    plan: Plan
    kept: tuple[StepReport, ...]
    replaced: tuple[StepReport, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the plan, to execute. ``after`` are the states its first steps wait for."""

    plan: Plan
    after: tuple[State[Any], ...] = ()
    kept: Mapping[str, StepOutcome] = field(default_factory=dict[str, StepOutcome])


@task(
    task_run_name="{label}",
    cache_policy=KEY_PARAMETER,
    persist_result=True,
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=is_infrastructure_failure,
)
async def revise_plan(ended: Revision, key: str, label: str, attempt: int) -> Revision:
    """The model's next version. ``ended`` is the present one and what became of its steps.

    Raises:
        PlanError: no revision that the model made could run.
    """
    run = current_run()
    model = DurableModel(run, Position(_step_id(ended.plan.version + 1), attempt), "planner")
    plan = await ask_for_plan(model, _opening(run, ended), partial(_next_version, run, ended))
    return ended.model_copy(update={"plan": plan})


async def latest_version(run: Run, plan: Plan, after: tuple[State[Any], ...]) -> Version:
    """The plan, or the last revision of it that an earlier flow run of this run made or began."""
    version = Version(plan, after)
    while (found := await _begun_before(run, version)) is not None:
        _adopt(run, found)
        kept = {report.step_id: StepOutcome(report, None) for report in found.kept}
        version = Version(found.plan, after, kept)
    return version


async def revised(
    run: Run, version: Version, outcomes: Mapping[str, StepOutcome]
) -> Version | None:
    """The next version, or None where this one's end is final."""
    if not _may_revise(run, version.plan, outcomes):
        return None
    ended = _ended(run, version.plan, outcomes)
    step_id = _step_id(version.plan.version + 1)
    attempt = run.journal.begin_attempt(step_id, fingerprint(ended), "")
    # Whoever goes on with it must ask the same, and not carry out again what ended badly.
    await once(run.store, _ended_key(run, step_id, attempt), lambda: _ready(ended))
    after = tuple(o.state for o in outcomes.values() if o.state and o.revisable)
    state, revision = await _revise(run, ended, attempt, after)
    if revision is None:
        return None
    _adopt(run, revision)
    kept = {report.step_id: outcomes[report.step_id] for report in revision.kept}
    return Version(revision.plan, (state,), kept)


async def _revise(
    run: Run, ended: Revision, attempt: int, after: tuple[State[Any], ...]
) -> tuple[State[Any], Revision | None]:
    number = ended.plan.version + 1
    state = await state_of(
        revise_plan,
        ended=ended,
        key=Position(_step_id(number), attempt).step_key(run.key),
        label=f"revise-plan (version {number})",
        attempt=attempt,
        after=after,
    )
    raise_if_unsaved(run.store)
    revision = await state.aresult(raise_on_failure=False)
    if isinstance(revision, Revision):
        return state, revision
    if isinstance(revision, PlanError):
        reason = str(revision)
        run.journal.append(AttemptFailed(step_id=_step_id(number), attempt=attempt, reason=reason))
    get_run_logger().warning("the plan was not revised: %s", revision)
    run.unrevised.append(revision)
    return state, None


async def _begun_before(run: Run, version: Version) -> Revision | None:
    """The revision that an earlier flow run committed, or one that it began and is ended now."""
    step_id = _step_id(version.plan.version + 1)
    attempt = run.journal.attempts(step_id)
    if not attempt:
        return None
    found = await read_record(run.store, Position(step_id, attempt).step_key(run.key))
    ended = await read_record(run.store, _ended_key(run, step_id, attempt))
    if found is None and ended and run.journal.current_attempt(step_id, fingerprint(ended)):
        run.settled.update({r.step_id: r for r in (*ended.kept, *ended.replaced)})
        _, found = await _revise(run, ended, attempt, version.after)
        run.settled.clear()
    if found is None:
        return None
    kept = [r.model_copy(update={"reused": True}) if r.result else r for r in found.kept]
    return found.model_copy(update={"kept": tuple(kept)})


def _ended_key(run: Run, step_id: str, attempt: int) -> str:
    return f"{run.key}/{step_id}/a{attempt}/ended"


async def _ready(ended: Revision) -> Revision:
    return ended


def _step_id(version: int) -> str:
    """In record keys. No step of a plan can have it: theirs begin with a letter or digit."""
    return f"_revise-plan-v{version}"


def _may_revise(run: Run, plan: Plan, outcomes: Mapping[str, StepOutcome]) -> bool:
    """Only honest bad ends are planned around: an outage, a spent budget or a refusal are not."""
    bad = [o for i, o in outcomes.items() if _ended_badly(o) and not plan.step(i).optional]
    limit = run.options.max_replans
    limit = (1 if plan.author == "model" else 0) if limit is None else limit
    within = plan.version <= limit and not has_small_model(run)
    return within and bool(bad) and all(o.revisable for o in bad)


def _ended_badly(outcome: StepOutcome) -> bool:
    return outcome.report.status in (StepStatus.FAILED, StepStatus.BLOCKED)


def _ended(run: Run, plan: Plan, outcomes: Mapping[str, StepOutcome]) -> Revision:
    reports = {i: o.report for i, o in outcomes.items()}
    holds = {
        i
        for i, r in reports.items()
        if r.status is StepStatus.COMPLETED
        or (plan.step(i).optional and r.status is not StepStatus.SKIPPED)
    }
    untrusted = plan.untrusted or any(o.untrusted for o in outcomes.values())
    untrusted = untrusted or any(is_tainted(run.directory, s.id) for s in plan.steps)
    return Revision(
        plan=plan.model_copy(update={"untrusted": untrusted}),
        kept=tuple(r for i, r in reports.items() if i in holds),
        replaced=tuple(r for i, r in reports.items() if i not in holds),
    )


def _adopt(run: Run, revision: Revision) -> None:
    """Makes a revision the run's plan."""
    run.replaced.extend(r for r in revision.replaced if r.status is not StepStatus.SKIPPED)
    for report in revision.replaced:
        run.settled.pop(report.step_id, None)
        run.begun.discard(report.step_id)
    for report in revision.kept:
        run.settled[report.step_id] = report
    announce(run, revision.plan)


def _opening(run: Run, ended: Revision) -> list[Message]:
    lines = [overview(run, ended.plan), ""]
    for report in ended.kept:
        said = report.result.summary if report.result else report.reason or ""
        lines += [f"Result of '{report.step_id}':", said[:MAX_RESULT_CHARS]]
    lines += [f"'{r.step_id}' {r.status.value}: {r.reason}" for r in ended.replaced]
    text = "\n".join(lines)
    text = marked(text, run.key) if ended.plan.untrusted else text
    asked = user(f"Goal: {ended.plan.goal or ended.plan.title}\n\n{text}")
    return [system(_PROMPT.format(agents=agents_text(run))), asked]


def _next_version(run: Run, ended: Revision, arguments: dict[str, Any]) -> Plan:
    """Raises PlanError for a revision that would redo what is finished, or cannot run."""
    held = {report.step_id for report in ended.kept}
    steps = arguments.get("steps")
    if not isinstance(steps, list):
        raise PlanError("steps: must be a list")
    given = cast(list[Any], steps)
    for name in (str(step.get("id")) for step in given if is_object(step)):
        if name in held:
            raise PlanError(f"step '{name}' is finished; give a new step another id")
    plan = ended.plan
    values: dict[str, Any] = {
        **plan.model_dump(mode="json"),
        "title": arguments.get("title") or plan.title,
        "steps": [*(s.model_dump(mode="json") for s in plan.steps if s.id in held), *given],
        "version": plan.version + 1,
        "author": "model",
    }
    return checked_plan(run, values)
