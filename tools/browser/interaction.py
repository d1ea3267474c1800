"""Actions on the elements of a page."""

from __future__ import annotations

import json
import mimetypes
import posixpath
from typing import Any

from core.errors import ToolFailedError
from tools.browser.arguments import BrowserCall
from tools.browser.desk import Desk
from tools.step_files import read_bytes

_OPTIONS = """element => element.tagName === 'SELECT'
  ? [...element.options].map((o, n) => ({n, text: o.label.trim(), value: o.value,
                                         selected: o.selected, disabled: o.disabled}))
  : null"""
_MOST_OPTIONS = 200
_MOST_UPLOAD_BYTES = 50_000_000


async def click_element(desk: Desk, call: BrowserCall) -> str:
    element, shown = await desk.element(call.index), await desk.shown_as(call.index)
    before = (await desk.session.tab()).tab_id
    await element.click()
    await desk.settle()
    tab = await desk.session.tab()
    moved = f"; tab {tab.tab_id} opened" if tab.tab_id != before else ""
    return f"Clicked {shown}{moved}"


async def input_text(desk: Desk, call: BrowserCall) -> str:
    element, shown = await desk.element(call.index), await desk.shown_as(call.index)
    await element.fill(call.text)
    await desk.settle()
    return f"Typed {len(call.text)} characters into {shown}"


async def get_dropdown_options(desk: Desk, call: BrowserCall) -> str:
    options = await _options(desk, call.index)
    left_out = len(options) - _MOST_OPTIONS
    listed = json.dumps(options[:_MOST_OPTIONS], ensure_ascii=False, indent=1)
    return listed + (f"\n({left_out} more options)" if left_out > 0 else "")


async def select_dropdown_option(desk: Desk, call: BrowserCall) -> str:
    options = await _options(desk, call.index)
    chosen = next((o for o in options if call.text.strip() == o["text"]), None) or next(
        (o for o in options if call.text == o["value"]), None
    )
    if chosen is None:
        there = ", ".join(str(o["text"]) for o in options[:20])
        raise ToolFailedError(f"there is no option '{call.text}'; options: {there}")
    await (await desk.element(call.index)).select_option(index=chosen["n"])
    await desk.settle()
    return f"Selected '{chosen['text']}' in {await desk.shown_as(call.index)}"


async def _options(desk: Desk, index: int) -> list[dict[str, Any]]:
    """Raises ToolFailedError for an element that is no select."""
    options = await (await desk.element(index)).evaluate(_OPTIONS)
    if options is None:
        shown = await desk.shown_as(index)
        raise ToolFailedError(f"{shown} is no select element; click it and choose from what opens")
    return options


async def upload_file(desk: Desk, call: BrowserCall) -> str:
    """Only what the step itself may read can be given to a page."""
    element, shown = await desk.element(call.index), await desk.shown_as(call.index)
    content = read_bytes(desk.context.directory, call.path, _MOST_UPLOAD_BYTES)
    name = posixpath.basename(call.path)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    await element.set_input_files({"name": name, "mimeType": kind, "buffer": content})
    await desk.settle()
    return f"Gave {name} ({len(content)} bytes) to {shown}"


async def send_keys(desk: Desk, call: BrowserCall) -> str:
    from playwright.async_api import Error

    page = await desk.page()
    try:
        await page.keyboard.press(call.keys)
    except Error as error:
        if "Unknown key" not in error.message:
            raise
        raise ToolFailedError(
            f"'{call.keys}' is no key; use names such as Enter, Tab, ArrowDown, or Control+a"
        ) from error
    await desk.settle()
    return f"Pressed {call.keys}"


async def scroll_down(desk: Desk, call: BrowserCall) -> str:
    return await _scroll(desk, call.scroll_amount, 1)


async def scroll_up(desk: Desk, call: BrowserCall) -> str:
    return await _scroll(desk, call.scroll_amount, -1)


async def _scroll(desk: Desk, amount: int | None, direction: int) -> str:
    page = await desk.page()
    before, after = await page.evaluate(
        """([amount, direction]) => {
          const before = scrollY;
          scrollBy({top: direction * (amount ?? innerHeight), behavior: 'instant'});
          return [before, scrollY];
        }""",
        [amount, direction],
    )
    moved = abs(round(after - before))
    way = "down" if direction > 0 else "up"
    if not moved:
        return f"The page does not scroll {way} any further"
    return f"Scrolled {way} by {moved} px"


async def scroll_to_text(desk: Desk, call: BrowserCall) -> str:
    page = await desk.page()
    for frame in page.frames:
        found = frame.get_by_text(call.text).locator("visible=true").first
        if await found.count():
            await found.scroll_into_view_if_needed()
            return f"Scrolled to '{call.text}'"
    raise ToolFailedError(f"the page does not show the text '{call.text}'")
