"""Actions on tabs and on where they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.errors import ToolFailedError
from tools.browser.addresses import checked_address
from tools.browser.arguments import BrowserCall
from tools.browser.desk import Desk
from tools.browser.state import one_line
from tools.invoke import invoke

if TYPE_CHECKING:
    from playwright.async_api import Page

_DOWNLOAD_BEGAN = "Download is starting"
_REFUSED = b"Egress: "
"""How the proxy's own answers begin."""

_LONGEST_SHOWN = 200


async def go_to_url(desk: Desk, call: BrowserCall) -> str:
    return await _open(desk, await desk.page(), await checked_address(desk.policy, call.url))


async def open_tab(desk: Desk, call: BrowserCall) -> str:
    address = await checked_address(desk.policy, call.url)
    tab = await desk.session.open_tab()
    return f"Tab {tab.tab_id}: " + await _open(desk, tab.page, address)


async def switch_tab(desk: Desk, call: BrowserCall) -> str:
    assert call.tab_id is not None
    tab = await desk.session.switch_to(call.tab_id)
    return f"Switched to tab {tab.tab_id}: {_where(tab.page)}"


async def close_tab(desk: Desk, call: BrowserCall) -> str:
    """The active tab, or the one that is named."""
    if call.tab_id is not None:
        await desk.session.switch_to(call.tab_id)
    tab = await desk.session.tab()
    await tab.page.close()
    return f"Closed tab {tab.tab_id}; tab {(await desk.session.tab()).tab_id} is active"


async def go_back(desk: Desk, call: BrowserCall) -> str:
    page = await desk.page()
    before = page.url
    answer = await page.go_back(wait_until="domcontentloaded")
    if answer is None and page.url == before:
        raise ToolFailedError("there is no page to go back to in this tab")
    return f"Went back to {_where(page)}"


async def refresh(desk: Desk, call: BrowserCall) -> str:
    page = await desk.page()
    await page.reload(wait_until="domcontentloaded")
    return f"Reloaded {_where(page)}"


async def wait(desk: Desk, call: BrowserCall) -> str:
    await asyncio.sleep(call.seconds)
    return f"Waited {call.seconds} s"


async def web_search(desk: Desk, call: BrowserCall) -> str:
    """Searches, and opens the first result as OpenManus does; the others are in the output."""
    if desk.search is None:
        raise ToolFailedError("there is no web search here; open a search page with go_to_url")
    found = await invoke(desk.search, {"query": call.query})
    if found.is_error:
        raise ToolFailedError(found.text)
    first = _first_address(found.data)
    if first is None:
        return found.output
    page = await desk.page()
    opened = await _open(desk, page, await checked_address(desk.policy, first))
    return f"{opened}\n\n{found.output}"


def _first_address(data: object) -> str | None:
    """Of a search's structured answer, ``{"results": [{"url": …}, …]}``."""
    from pydantic import TypeAdapter, ValidationError

    try:
        results = TypeAdapter(dict[str, object]).validate_python(data).get("results")
        first = TypeAdapter(list[dict[str, object]]).validate_python(results)[:1]
    except ValidationError:
        return None
    url = first[0].get("url") if first else None
    return url if isinstance(url, str) else None


async def _open(desk: Desk, page: Page, address: str) -> str:
    from playwright.async_api import Error

    try:
        answer = await page.goto(address, wait_until="domcontentloaded")
    except Error as error:
        if _DOWNLOAD_BEGAN not in error.message:
            raise
        return f"{one_line(address, _LONGEST_SHOWN)} is a file to download"
    if answer and answer.status in (403, 502) and (await answer.body()).startswith(_REFUSED):
        raise ToolFailedError((await answer.text())[:_LONGEST_SHOWN].strip())
    status = f" (HTTP {answer.status})" if answer and answer.status >= 400 else ""
    return f"Opened {_where(page)}{status}"


def _where(page: Page) -> str:
    return one_line(page.url, _LONGEST_SHOWN)
