"""What a page does without end costs it, and neither this machine nor other steps."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.web_pages import WebPages
from tests.tools.browser.conftest import QUICK, Begin, Browsing
from tools.browser import downloads
from tools.browser.session import MOST_TABS
from tools.resources import Scopes, resources

pytestmark = pytest.mark.asyncio(loop_scope="session")

_AGAIN_AND_AGAIN = """<script>
setInterval(() => {{
  const link = document.createElement('a');
  link.href = '{0}';
  link.download = 'same.bin';
  document.body.append(link);
  link.click();
}}, 20)</script>"""


async def test_a_page_gets_no_more_tabs_than_there_may_be(
    browsing: Browsing, pages: WebPages
) -> None:
    pages.serve("/popup", "<title>Popup</title>")
    more = MOST_TABS + 10
    flood = f"<script>for (let i = 0; i < {more}; i++) open('/popup')</script>"
    await browsing.call("go_to_url", url=pages.serve("/flood", flood))
    await browsing.until("closed at once")
    page = await browsing.page()
    for _ in range(100):
        if len(page.context.pages) <= MOST_TABS:
            break
        await asyncio.sleep(0.1)
    assert len(page.context.pages) == MOST_TABS


async def test_what_a_page_says_a_hundred_times_is_not_kept_as_often(browsing: Browsing) -> None:
    await browsing.show(
        '<title>Waits</title><button onclick="setTimeout(() => { for (let i = 0; i < 100; i++) '
        "alert(i); document.title = 'Said'; })\">Ask</button>"
    )
    page = await browsing.page()
    await page.get_by_role("button").click()
    await page.wait_for_function("document.title === 'Said'", timeout=60_000)
    session = await browsing.tool._session()  # pyright: ignore[reportPrivateUsage]
    assert 1 <= len(session.take_notes()) <= 50


async def test_downloads_of_one_name_at_once_are_all_kept(
    browsing: Browsing, pages: WebPages
) -> None:
    octets = {"content_type": "application/octet-stream"}
    for number in range(5):
        pages.serve(f"/file{number}", str(number) * 1000, **octets)
    links = "".join(f"<a href=/file{n} download=same.bin></a>" for n in range(5))
    clicks = "document.querySelectorAll('a').forEach((a, n) => setTimeout(() => a.click(), n * 30))"
    await browsing.show(f'{links}<button onclick="{clicks}">All</button>')
    await browsing.do("click_element", index=browsing.index('"All"'))
    for _ in range(100):
        if len(browsing.files) == 5:
            break
        await asyncio.sleep(0.1)
    first = sorted(content[:1] for content in browsing.files.values())
    assert first == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_page_that_sends_files_for_ever_does_not_fill_the_disk(
    browsing: Browsing, pages: WebPages
) -> None:
    """The bound of one is a MiB here, that of all ten times as much."""
    file = pages.serve("/file", b"x" * 900_000, content_type="application/octet-stream")
    await browsing.show(_AGAIN_AND_AGAIN.format(file))
    await browsing.until("downloads were refused")
    kept = sum(len(content) for content in browsing.files.values())
    assert 10 * 2**20 <= kept <= (10 + downloads.MOST_AT_ONCE) * 2**20


_GREEDY = """<title>Greedy</title><script>
const held = [];
setInterval(() => held.push(new Uint8Array(32e6).fill(1)), 10)</script>"""


async def test_a_page_that_takes_all_memory_crashes_and_the_browser_does_not(
    begin: Begin, pages: WebPages
) -> None:
    """In a browser of its own, as the bound is the whole browser's."""
    settings = QUICK.model_copy(update={"memory_mib": 1024})
    async with resources() as process, resources() as step, resources() as other:
        greedy = begin(settings, scopes=Scopes(step=step, process=process))
        harmless = begin(settings, scopes=Scopes(step=other, process=process))
        await harmless.show("<title>Harmless</title>", "/harmless")
        told = await greedy.call("go_to_url", url=pages.serve("/greedy", _GREEDY))
        for _ in range(10):
            if told.is_error:
                break
            told = await greedy.call("wait", seconds=2)
        assert told.error == "the page crashed; the next call starts a new one"
        assert "Page: Harmless" in await harmless.do("wait", seconds=0)
