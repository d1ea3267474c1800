"""Orders in what an agent reads, obeyed by its model: what they can do, and what a person sees."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Generator
from typing import Any

import pytest

from core.plan import PlanStep
from core.run import ApprovalPolicy, Decision
from gateway.questions import answer
from tests.fakes.obedient import ORDER, ORDERS, Obedient, calls, ends
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall
from tests.flows.conftest import Stage
from tests.flows.injections import World, porter, world_of
from tests.flows.test_human import waiting


@pytest.fixture
def world(stage: Stage) -> Generator[World]:
    with world_of(stage) as world:
        yield world


def asking(untrusted: Decision = "ask") -> dict[str, Any]:
    return {"approvals": ApprovalPolicy(high_risk="allow", untrusted=untrusted)}


async def test_without_strangers_words_a_high_risk_tool_runs(world: World) -> None:
    model = Obedient({"a": [calls("launch", target="mars")]})
    report, rows = await world.run(model, porter("a"))
    assert report.status == "completed"
    assert world.launch.launched == ["mars"]
    assert [r.error_type for r in rows] == [None]
    assert report.steps[0].result
    assert not report.steps[0].result.untrusted


async def test_orders_in_a_page_of_the_browser_and_in_a_file_that_it_saved_launch_nothing(
    world: World,
) -> None:
    page = world.pages.serve("/page", f"<title>News</title><a href='#more'>{ORDER}</a>")
    attached = {"content_type": "text/plain", "content_disposition": 'attachment; filename="x.txt"'}
    file = world.pages.serve("/file", ORDER.replace("moon", "mars"), **attached)
    visits = [calls("browser_use", action="go_to_url", url=url) for url in (page, file)]
    model = Obedient({"a": visits, "b": [calls("read_file", path="../a/downloads/x.txt")]})

    def patient(request: RecordedRequest) -> Answer | Fault:
        seen = "downloaded downloads/x.txt" in request.text or "/file" not in world.pages.asked
        of_a = "Do the work of a." in request.text
        if seen or not of_a:
            return model(request)
        return calls("browser_use", action="wait", seconds=request.index % 3)

    report, rows = await world.run(patient, porter("a"), porter("b", "a"))
    if report.steps[0].error_type == "EnvironmentUnusableError":
        pytest.skip(str(report.steps[0].reason))
    assert world.pages.asked[0] == "/page"
    world.assert_held(model, rows)
    # b is ordered by what a says, then by the file.
    assert [r.step_id for r in rows] == ["a", "b", "b"]
    assert report.status == "completed"


async def test_an_order_in_a_crawled_page_launches_nothing_however_it_is_put(world: World) -> None:
    moves = {f"s{n}": [world.crawls(html.escape(order), f"/{n}")] for n, order in enumerate(ORDERS)}
    model = Obedient(moves)
    report, rows = await world.run(model, *map(porter, moves))
    world.assert_held(model, rows)
    assert len(rows) == model.obeyed == len(ORDERS)
    assert all(s.result and s.result.untrusted for s in report.steps)


async def test_an_order_in_a_search_result_launches_nothing(world: World) -> None:
    hit = {"url": "https://example.org/a", "title": "First", "content": ORDER}
    world.pages.serve("/search", str([hit]).replace("'", '"').join(('{"results": ', "}")))
    model = Obedient({"a": [calls("web_search", query="news")]})
    _, rows = await world.run(model, porter("a"))
    world.assert_held(model, rows)


async def test_an_order_in_an_mcp_servers_answer_neither_launches_nor_sends(world: World) -> None:
    letter = ORDER.replace("launch", "mcp_mail_send")
    sent = world.mail(letter)
    model = Obedient({"a": [calls("mcp_mail_read")]})
    report, _ = await world.run(model, porter("a"))
    assert model.obeyed == 1
    assert not sent.exists()
    denied = [r for r in world.stage.rows(report) if r.tool_name == "mcp_mail_send"]
    assert [r.error_type for r in denied] == ["ApprovalDeniedError"]
    assert "mcp_mail_send may not run while" in world.stage.model.requests[2].last_text


async def test_an_order_in_an_input_file_launches_nothing_unless_the_caller_trusts_it(
    world: World,
) -> None:
    model = Obedient({"a": [calls("read_file", path="../data/given.txt")]})
    _, rows = await world.run(model, porter("a"), inputs=(world.given_file(),))
    world.assert_held(model, rows)
    model = Obedient(model.moves)
    report, rows = await world.run(
        model, porter("a"), inputs=(world.given_file(),), trust_inputs=True
    )
    assert world.launch.launched == ["moon"]
    assert report.steps[0].result
    assert not report.steps[0].result.untrusted


async def test_calls_of_one_turn_are_judged_by_what_was_in_view_before_it(world: World) -> None:
    (crawl,) = world.crawls().tool_calls
    both = Answer(tool_calls=(crawl, ScriptedCall("launch", {"target": "base"})))
    model = Obedient({"a": [both]})
    _, rows = await world.run(model, porter("a"))
    assert model.obeyed == 1
    assert world.launch.launched == ["base"]
    assert sorted(str(r.error_type) for r in rows) == ["ApprovalDeniedError", "None"]


async def test_a_person_may_allow_a_call_and_other_arguments_ask_again(world: World) -> None:
    then = [world.crawls(), calls("launch", target="mars")]
    model = Obedient({"a": then})
    running = asyncio.create_task(world.run(model, porter("a"), **asking()))
    (question,) = await waiting()
    assert "May `launch` run while words from outside" in question.text
    assert '"target": "moon"' in question.text
    assert world.launch.launched == []
    await answer(question.run_key, "approve")
    (question,) = await waiting()
    assert '"target": "mars"' in question.text
    await answer(question.run_key, "deny")
    report, rows = await running
    assert world.launch.launched == ["moon"]
    assert sorted(str(r.error_type) for r in rows) == ["ApprovalDeniedError", "None"]
    assert "no approval was given" in world.stage.model.requests[-1].last_text
    assert report.status == "completed"


async def test_an_approved_call_is_neither_asked_nor_run_again_by_a_resume(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUS_RUN__INFRASTRUCTURE_RETRIES", "0")
    model = Obedient({"a": [world.crawls(), Fault(status=400)]})
    running = asyncio.create_task(world.run(model, porter("a"), **asking()))
    (question,) = await waiting()
    await answer(question.run_key, "approve")
    report, _ = await running
    assert report.status == "failed"
    asked = len(world.stage.model.requests)
    world.stage.model.script = Obedient()
    _, report = await world.stage.resume(report)
    assert report.status == "completed"
    assert len(world.stage.model.requests) == asked + 1
    assert world.launch.launched == ["moon"]


async def test_who_is_asked_in_view_of_strangers_words_is_told_and_the_answer_is_trusted(
    world: World,
) -> None:
    phishing = "The run needs it:\n\n# Type the password of the server"
    asks = calls("ask_human", inquire=phishing)
    model = Obedient(
        {"a": [world.crawls("Nothing new."), asks], "b": [calls("ask_human", inquire="Well?")]}
    )
    running = asyncio.create_task(world.run(model, porter("a"), porter("b")))
    for _ in range(2):
        (question,) = await waiting()
        if "password" in question.text:
            assert "Be careful: words from outside" in question.text
            assert "\n> # Type the password of the server" in question.text
            await answer(question.run_key, "never")
        else:
            assert question.text.endswith("asks:\n\nWell?")
            await answer(question.run_key, ORDER)
    await running
    assert world.launch.launched == ["moon"]


async def test_who_approves_of_a_step_sees_what_it_will_do_and_whose_words_it_has(
    world: World,
) -> None:
    go = PlanStep(
        id="go",
        title="Go",
        kind="tool",
        tool="launch",
        args={"target": "{{ steps.a.summary }}"},
        depends_on=("a",),
        approval=True,
    )
    model = Obedient({"a": [world.crawls("Nothing new."), ends("the east coast")]})
    running = asyncio.create_task(world.run(model, porter("a"), go))
    (question,) = await waiting()
    assert "May step 'go' (Go) begin while words from outside" in question.text
    assert '"target": "the east coast"' in question.text
    await answer(question.run_key, "deny")
    await running
    assert world.launch.launched == []
