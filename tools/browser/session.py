"""The tabs of one attempt of one step: a browser context that nobody else shares."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from core.base import JsonObject
from core.errors import ToolFailedError
from core.tool_settings import BrowserSettings
from tools.browser.downloads import Downloads
from tools.browser.memory import Kept
from tools.browser.page_index import Numbers, PageIndex, View
from tools.browser.state import TabLine

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Dialog, Page

MOST_TABS = 20
_LONGEST_MESSAGE = 300
_MOST_NOTES = 50
_TITLE_SECONDS = 1.0
_STORAGE_SECONDS = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tab:
    """``tab_id`` counts from 0 in the order of opening and is not given twice."""

    tab_id: int
    page: Page
    index: PageIndex


class BrowserSession:
    """Pages change it between calls: popups open tabs, dialogs and downloads leave notes.

    ``busy`` is held while an action runs: a model may ask for several at once.
    """

    def __init__(
        self, context: BrowserContext, settings: BrowserSettings, downloads: Downloads
    ) -> None:
        self.settings = settings
        self.downloads = downloads
        self.numbers = Numbers()
        self.crashed = False
        self.busy = asyncio.Lock()
        self._notes: list[str] = []
        self._turned_away = 0
        self._closing: set[asyncio.Future[None]] = set()
        self._context = context
        self._tabs: dict[Page, Tab] = {}
        self._ids = count()
        self._storage: JsonObject = {}
        self._active: Tab | None = None
        context.on("page", self._opened)
        context.on("dialog", self._answer)

    @property
    def alive(self) -> bool:
        browser = self._context.browser
        return not self.crashed and (browser is None or browser.is_connected())

    @property
    def tabs(self) -> tuple[Tab, ...]:
        return tuple(self._tabs.values())

    async def tab(self) -> Tab:
        """The active tab; a first one where there is none."""
        return self._active or await self.open_tab()

    async def open_tab(self) -> Tab:
        """Raises ToolFailedError where there are too many."""
        if len(self._tabs) >= MOST_TABS:
            raise ToolFailedError(f"{MOST_TABS} tabs are open; close one with close_tab first")
        page = await self._context.new_page()
        self._opened(page)
        return self._tabs[page]

    async def switch_to(self, tab_id: int) -> Tab:
        """Raises ToolFailedError, naming the tabs there are."""
        chosen = next((tab for tab in self.tabs if tab.tab_id == tab_id), None)
        if chosen is None:
            there = ", ".join(str(tab.tab_id) for tab in self.tabs) or "none"
            raise ToolFailedError(f"there is no tab {tab_id}; tabs: {there}")
        self._active = chosen
        await chosen.page.bring_to_front()
        return chosen

    async def tab_lines(self) -> list[TabLine]:
        active = await self.tab()
        return [
            TabLine(tab.tab_id, await _title(tab.page), tab.page.url, tab is active)
            for tab in self.tabs
        ]

    async def look(self) -> View:
        return await (await self.tab()).index.look()

    def note(self, text: str) -> None:
        """Something the model is to hear with the next state; what a page repeats for ever not."""
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(text)

    def take_notes(self) -> list[str]:
        """What happened since they were last taken."""
        taken, self._notes = [*self._notes, *self.downloads.take_notes()], []
        if self._turned_away:
            taken.append(f"{MOST_TABS} tabs are open; {self._turned_away} more were closed at once")
            self._turned_away = 0
        return taken

    def restore(self, kept: Kept) -> None:
        """Goes on counting where a session before ended."""
        self.numbers.highest = kept.highest_index
        self._storage = kept.storage

    async def kept(self) -> Kept:
        """What a new browser needs to go on from here."""
        tabs = self.tabs
        return Kept(
            addresses=tuple(tab.page.url for tab in tabs),
            active=next((n for n, tab in enumerate(tabs) if tab is self._active), 0),
            highest_index=self.numbers.highest,
            storage=await self._current_storage(),
        )

    async def _current_storage(self) -> JsonObject:
        """As it was before where a page is too busy to give its local storage."""
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):
                self._storage = {**await self._context.storage_state()}
        except TimeoutError:
            _log.info("a page is too busy to give its local storage")
        return self._storage

    def _opened(self, page: Page) -> None:
        """A popup is a tab like any other, and the one that is looked at next."""
        if page in self._tabs:
            return
        if len(self._tabs) >= MOST_TABS:
            self._turn_away(page)
            return
        page.set_default_timeout(self.settings.action_timeout_seconds * 1000)
        page.set_default_navigation_timeout(self.settings.navigation_timeout_seconds * 1000)
        page.on("close", self._closed)
        page.on("crash", self._page_crashed)
        page.on("download", self.downloads.begin)
        tab = Tab(next(self._ids), page, PageIndex(page, self.numbers))
        self._tabs[page] = self._active = tab

    def _turn_away(self, page: Page) -> None:
        """Each costs a process: a page that opens one after the other must not get them."""
        closing = asyncio.ensure_future(_close_quietly(page))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._turned_away += 1

    def _closed(self, page: Page) -> None:
        gone = self._tabs.pop(page, None)
        if gone is self._active:
            self._active = next(reversed(self._tabs.values()), None)

    def _page_crashed(self, page: Page) -> None:
        del page
        self.crashed = True

    async def _answer(self, dialog: Dialog) -> None:
        """A dialog stops the page until it is answered, so it is answered at once."""
        is_notice = dialog.type in ("alert", "beforeunload")
        accept = is_notice or self.settings.confirm_dialogs == "accept"
        answer = "accepted" if accept else "dismissed"
        self.note(f"{dialog.type} dialog, {answer}: {dialog.message[:_LONGEST_MESSAGE]}")
        await (dialog.accept() if accept else dialog.dismiss())


async def _close_quietly(page: Page) -> None:
    """One that went by itself, or with its browser, needs nothing more."""
    from playwright.async_api import Error

    try:
        await page.close()
    except Error as error:
        _log.debug("a tab that was turned away: %s", error)


async def _title(page: Page) -> str:
    """Empty where the page is too busy to say."""
    try:
        async with asyncio.timeout(_TITLE_SECONDS):
            return await page.title()
    except TimeoutError:
        return ""
