"""A question answered in the Prefect UI, as an operator does it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from gateway.questions import OpenQuestion
from tests.conftest import PrefectServer
from tests.fakes.script import Answer, RecordedRequest
from tests.flows.conftest import Stage
from tests.flows.test_cli import Command
from tests.flows.test_human import asker, asks, then_ends, waiting
from tests.flows.test_planning import plan

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_MS = 60_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.timeout(300),
]


@pytest.fixture
async def page() -> AsyncGenerator[Page]:
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        await browser.close()


async def answer_in_ui(page: Page, url: str, question: OpenQuestion, text: str) -> None:
    """Opens the paused run, takes 'Resume', fills the form in and submits it."""
    await page.goto(f"{url}/runs/flow-run/{question.flow_run_id}")
    await page.get_by_role("button", name="Resume").click()
    form = page.get_by_role("dialog")
    asked = question.text.rpartition("\n")[2]
    await expect(form.get_by_text(asked)).to_be_visible(timeout=PATIENCE_MS)
    if question.choices:
        await form.locator(".p-select-button__control").focus()
        await page.keyboard.press("ArrowDown")
        await page.get_by_role("option", name=text).click()
    else:
        await form.get_by_role("textbox").fill(text)
    await form.get_by_role("button", name="Submit").click()


@pytest.fixture
def manus(stage: Stage, prefect_server: PrefectServer) -> Command:
    return Command(stage, prefect_server)


async def test_two_questions_at_once_one_answered_in_the_ui_one_on_the_command_line(
    stage: Stage, prefect_server: PrefectServer, page: Page, manus: Command
) -> None:
    def first(request: RecordedRequest) -> Answer:
        if "work of a" in request.text:
            return asks("Left or right?", choices=["left", "right"])
        return asks("Why?")

    stage.model.script = then_ends(first)
    running = asyncio.create_task(stage.run(plan(asker("a"), asker("b"))))
    (one,) = await waiting()
    await answer_in_ui(page, prefect_server.address.ui_url, one, "left" if one.choices else "fun")
    other = one
    while other.text == one.text:
        await asyncio.sleep(0.2)
        (other,) = await waiting()
    code, out, _ = await manus("answer")
    assert code == 0
    assert "Why?" in out or "Left or right?" in out
    code, out, err = await manus("answer", other.run_key[:8], "left" if other.choices else "fun")
    assert code == 0, err
    state, report = await running
    assert state.is_completed(), state.message
    assert {s.step_id: s.result.summary for s in report.steps if s.result} == {
        "a": "left",
        "b": "fun",
    }
