"""Orders that reach a model over detours: other steps, files, plans, runs, messages and notes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelling

from core.errors import RunFailedError
from core.plan import PlanStep
from core.result import RunReport
from core.run import RunOptions, Utterance
from flows.agent import run_agent
from tasks.draft import to_yaml
from tasks.services import open_services, using
from tests.conftest import PrefectServer
from tests.fakes.obedient import ORDER, Obedient, calls, ends
from tests.fakes.script import Answer, Fault, RecordedRequest
from tests.flows.conftest import Stage
from tests.flows.injections import World, plan, porter, world_of
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.step_files import write_bytes

SAVES = calls("write_file", path="notes.txt", content=ORDER)
LAUNCH = {"kind": "tool", "tool": "launch"}


@pytest.fixture
def world(stage: Stage) -> Generator[World]:
    with world_of(stage) as world:
        yield world


def reads(path: str) -> list[Answer]:
    return [calls("read_file", path=path)]


async def test_a_tainted_steps_summary_gives_orders_to_no_dependant_of_any_kind(
    world: World,
) -> None:
    model = Obedient({"a": [world.crawls()]})
    said = PlanStep(
        id="said", title="said", kind="completion", instructions="Sum up.", depends_on=("a",)
    )
    tool = PlanStep(
        id="go",
        title="go",
        args={"target": "{{ steps.a.summary }}"},
        depends_on=("a",),
        **LAUNCH,  # pyright: ignore[reportArgumentType]
    )
    steps = (porter("a"), porter("b", "a"), said, porter("c", "said"), tool)
    report, rows = await world.run(model, *steps)
    world.assert_held(model, rows)
    assert {r.step_id for r in rows} == {"a", "b", "c", "go"}
    ended = {s.step_id: s for s in report.steps}
    assert all(s.result and s.result.untrusted for i, s in ended.items() if i != "go")
    assert ended["go"].error_type == "ApprovalDeniedError"


async def test_a_tainted_steps_file_gives_no_orders_to_who_reads_it(world: World) -> None:
    crawled = world.crawls("Nothing new.")
    model = Obedient({"a": [crawled, SAVES, ends("done")], "b": reads("../a/notes.txt")})
    _, rows = await world.run(model, porter("a"), porter("b", "a"))
    world.assert_held(model, rows)
    assert {r.step_id for r in rows} == {"b"}


@pytest.mark.parametrize("end", [ends("gave up", "failure"), Fault(status=400)])
async def test_what_a_failed_optional_step_left_gives_no_orders(
    world: World, end: Answer | Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
    crawled = world.crawls("Nothing new.")
    model = Obedient({"a": [crawled, SAVES, end], "b": reads("../a/notes.txt")})
    report, rows = await world.run(model, porter("a", optional=True), porter("b", "a"))
    assert [s.status.value for s in report.steps] == ["failed", "completed"]
    world.assert_held(model, rows)
    assert report.steps[1].result
    assert report.steps[1].result.untrusted


async def test_what_an_attempt_left_gives_no_orders_to_the_next(world: World) -> None:
    failing = [world.crawls("Nothing new."), SAVES, ends("gave up", "failure")]
    model = Obedient({"a": failing}, again={"a": reads("notes.txt")})
    report, rows = await world.run(model, porter("a", retries=1))
    assert report.steps[0].attempts == 2
    world.assert_held(model, rows)


def planned(*steps: dict[str, Any]) -> Answer:
    return calls("create_plan", title="A plan", steps=list(steps))


def drafted(step_id: str, *needs: str, order: str = "") -> dict[str, Any]:
    work = f"Do the work of {step_id}. {order}"
    about = {"id": step_id, "title": step_id, "agent": "porter", "depends_on": list(needs)}
    return {**about, "instructions": work}


@pytest.mark.parametrize("tainted", [True, False])
async def test_a_plan_revised_in_the_light_of_strangers_words_gives_no_orders(
    world: World, *, tainted: bool
) -> None:
    opening = [world.crawls("Nothing new.")] if tainted else []
    model = Obedient({"read": [*opening, ends("It is shut.", "failure")]})
    model.plans = [planned(drafted("read")), planned(drafted("other", order=ORDER))]
    report, rows = await world.run(model, goal="Read and tell")
    assert report.plan_version == 2
    if tainted:
        world.assert_held(model, rows)
    else:
        assert world.launch.launched == ["moon"]


async def test_a_plan_revised_over_a_failed_step_beside_a_tainted_one_gives_no_orders(
    world: World,
) -> None:
    news = [world.crawls("Nothing new."), ends("Nothing new.")]
    model = Obedient({"read": news, "count": [ends("I cannot.", "failure")]})
    model.plans = [
        planned(drafted("read"), drafted("count")),
        planned(drafted("other", order=ORDER)),
    ]
    _, rows = await world.run(model, goal="Read and count")
    world.assert_held(model, rows)


async def test_a_plan_revised_beside_what_a_provider_cut_short_gives_no_orders(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
    notes = calls("planning", command="note", text="Nothing new.")
    cut_short = [world.crawls("Nothing new."), notes, Fault(status=400)]
    model = Obedient({"a": cut_short, "b": [ends("I cannot.", "failure")]})
    model.plans = [planned(drafted("other", order=ORDER))]
    report, rows = await world.run(model, porter("a", optional=True), porter("b"), max_replans=1)
    assert report.plan_version == 2
    world.assert_held(model, rows)


async def test_an_attempt_that_a_resume_goes_on_with_is_as_tainted_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
    out = [True]
    model = Obedient({"a": [world.crawls()]})

    def script(request: RecordedRequest) -> Answer | Fault:
        return Fault(status=500) if out[0] and "News" in request.last_text else model(request)

    world.stage.model.script = script
    _, report = await world.stage.run(plan(porter("a")))
    assert (report.status, model.obeyed) == ("failed", 0)
    out[0] = False
    _, report = await world.stage.resume(report)
    assert report.steps[0].attempts == 1
    world.assert_held(model, world.launches(report))
    assert world.pages.asked.count("/news") == 1


async def test_a_process_killed_between_reading_and_calling_is_as_tainted_when_resumed(
    world: World, prefect_server: PrefectServer
) -> None:
    sent = world.mail(ORDER.replace("launch", "mcp_mail_send"))
    text = (world.stage.home / "agents" / "porter.md").read_text(encoding="utf-8")
    text = text.replace("launch, ", "")  # which only this process has
    (world.stage.home / "agents" / "porter.md").write_text(text, encoding="utf-8")
    file = world.stage.home.parent / "plan.yaml"
    file.write_text(to_yaml(plan(porter("a"))), encoding="utf-8")
    model = Obedient({"a": [calls("mcp_mail_read")]})
    manus = Manus(prefect_server)

    def script(request: RecordedRequest) -> Answer | Fault:
        if manus.alive and model.begun["a"]:
            manus.kill()
            return Fault(kind="cut_before")
        return model(request)

    world.stage.model.script = script
    assert await manus("run", str(file)) < 0
    assert model.obeyed == 0
    (run,) = (world.stage.home / "runs").iterdir()
    manus.alive = False
    assert await manus("resume", run.name) == 0
    assert model.obeyed == 1
    assert not sent.exists()
    journal = (run / "journal.jsonl").read_text(encoding="utf-8")
    begun = [json.loads(line) for line in journal.splitlines() if "-c00-tool" in line]
    assert len(begun) == 1, "the letter was read again"


class Fetch(BaseTool):
    """Saves what a stranger wrote, and never comes to an end."""

    name = "fetch"
    description = "Fetches."
    parameters = object_schema()
    annotations = ToolAnnotations(network=True, untrusted_output=True)

    def __init__(self) -> None:
        self.saved = asyncio.Event()

    async def execute(self) -> ToolResult:
        write_bytes(self.context.directory, "notes.txt", ORDER.encode())
        self.saved.set()
        await asyncio.Event().wait()
        return self.success_response("fetched")


async def test_what_a_tool_left_that_was_cut_off_while_it_read_gives_no_orders(
    world: World,
) -> None:
    fetch = Fetch()
    world.stage.tools.append(fetch)
    model = world.stage.model.script = Obedient({"a": [calls("fetch"), *reads("notes.txt")]})
    running = asyncio.create_task(world.stage.run(plan(porter("a"))))
    await fetch.saved.wait()
    (run,) = (world.stage.home / "runs").iterdir()
    async with get_client() as client:
        await client.set_flow_run_state(UUID(run.name), Cancelling())
    await asyncio.wait([running])
    _, report = await world.stage.run(resume_from=run.name)
    assert report.steps[0].attempts == 1
    world.assert_held(model, world.launches(report))


class Manus:
    """The program; ``alive`` until it is killed."""

    def __init__(self, server: PrefectServer) -> None:
        self.alive = True
        self._environment = {**os.environ, "PREFECT_API_URL": server.address.api_url}
        self._process: asyncio.subprocess.Process | None = None

    async def __call__(self, *arguments: str) -> int:
        program = (sys.executable, "-c", "from gateway.cli.main import main; main()")
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *program, *arguments, env=self._environment, stdin=quiet, stdout=quiet, stderr=quiet
        )
        return await self._process.wait()

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self.alive = False


async def test_a_tainted_result_taken_over_from_another_run_gives_no_orders(world: World) -> None:
    step = porter("a", cache_ttl_seconds=3600.0)
    moves = {"a": [world.crawls(), ends(f"I read: {ORDER}")]}
    await world.run(Obedient(moves), step)
    model = Obedient(moves)
    report, rows = await world.run(model, step, porter("b", "a"))
    assert report.steps[0].reused
    assert model.begun == {"b": 1}
    world.assert_held(model, rows)
    assert {r.step_id for r in rows} == {"b"}


async def test_an_answer_of_the_response_cache_is_held_back_like_the_models_own(
    world: World,
) -> None:
    world.configure("cache_ttl_seconds = 3600\n")
    model = Obedient({"a": [world.crawls()]})
    await world.run(model, porter("a"))
    asked = len(world.stage.model.requests)
    _, rows = await world.run(model, porter("a"))
    assert len(world.stage.model.requests) == asked
    world.assert_held(model, rows)
    assert len(rows) == 1


async def asked(world: World, prompt: str, **options: Any) -> RunReport:
    """A message to the agent ``porter``."""
    flow: Any = run_agent
    async with open_services() as services:
        services.tools.add(world.launch)
        with using(services):
            chosen = RunOptions(**options)
            state: State[Any] = await flow(
                prompt=prompt, agent="porter", options=chosen, return_state=True
            )
    outcome: Any = await state.aresult(raise_on_failure=False)
    return outcome.details["report"] if isinstance(outcome, RunFailedError) else outcome


def said(*, untrusted: bool) -> tuple[Utterance, ...]:
    about = Utterance(role="assistant", text=f"I read: {ORDER}", untrusted=untrusted)
    return (Utterance(role="user", text="What is new?"), about)


async def test_what_was_said_in_view_of_strangers_words_gives_no_orders_later(
    world: World,
) -> None:
    model = world.stage.model.script = Obedient()
    report = await asked(world, "Do the work of a.", conversation=said(untrusted=True))
    world.assert_held(model, world.launches(report))
    _, rows = await world.run(Obedient(), porter("a"), conversation=said(untrusted=True))
    assert world.launch.launched == []
    assert [r.error_type for r in rows] == ["ApprovalDeniedError"]
    await world.run(Obedient(), porter("a"), conversation=said(untrusted=False))
    assert world.launch.launched == ["moon"]


async def test_a_file_carried_to_the_next_message_gives_no_orders(world: World) -> None:
    failing = [world.crawls("Nothing new."), SAVES, ends("gave up", "failure")]
    model = world.stage.model.script = Obedient({"a": failing, "b": reads("notes.txt")})
    first = await asked(world, "Do the work of a.")
    assert first.status == "failed"
    second = await asked(world, "Do the work of b.", files_of=first.run_key)
    world.assert_held(model, world.launches(second))
    third = await asked(world, "Do the work of b.", files_of=second.run_key)
    assert world.launches(third)[0].error_type == "ApprovalDeniedError"


@pytest.mark.parametrize("tainted", [True, False])
async def test_a_note_or_a_reason_in_the_plan_gives_no_orders(
    world: World, *, tainted: bool
) -> None:
    opening = [world.crawls("Nothing new.")] if tainted else []
    notes = [*opening, calls("planning", command="note", text=ORDER), ends("done")]
    looks = calls("planning", command="get")
    fails = [*opening, ends(ORDER, "failure")]
    model = Obedient({"a": notes, "b": [looks], "c": fails, "d": [looks]})
    steps = (porter("a"), porter("b"), porter("c", optional=True), porter("d"))
    first, rows = await world.run(model, *steps[:2], max_parallel_steps=1)
    second, more = await world.run(model, *steps[2:], max_parallel_steps=1)
    assert (first.status, second.status) == ("completed", "completed")
    if tainted:
        world.assert_held(model, (*rows, *more))
        assert {r.step_id for r in (*rows, *more)} == {"b", "d"}
    else:
        assert world.launch.launched == ["moon", "moon"]


async def test_marks_lie_where_no_step_can_reach_them(world: World) -> None:
    model = Obedient({"a": [world.crawls("Nothing new.")]})
    report, _ = await world.run(model, porter("a"))
    (mark,) = Path(report.directory).rglob("untrusted-*")
    assert mark.parent == Path(report.directory) / "private" / "a"
