"""A session's beginning: a context of its own, the tabs there were before, and the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import AnswerToModelError
from core.tool_settings import BrowserSettings
from tools.base import ToolContext
from tools.browser.addresses import BLANK, NOT_WEB, checked_address
from tools.browser.chromium import Chromium
from tools.browser.downloads import Downloads
from tools.browser.memory import Kept, read_kept
from tools.browser.session import BrowserSession
from tools.egress.policy import EgressPolicy

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Route, StorageState

_log = logging.getLogger(__name__)
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with; ``context`` is the step's."""

    chromium: Chromium
    settings: BrowserSettings
    policy: EgressPolicy
    context: ToolContext

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[BrowserSession]:
        """For the step's scope; the tabs and cookies of a session before are brought back."""
        running = await self.chromium.running()
        kept = await asyncio.to_thread(read_kept, self.context.private)
        context = await running.browser.new_context(
            viewport={
                "width": self.settings.viewport_width,
                "height": self.settings.viewport_height,
            },
            ignore_https_errors=self.settings.disable_security,
            service_workers="block",
            storage_state=_storage(kept),
        )
        await context.route(NOT_WEB, _refuse)
        limit = self.settings.download_mib * _MIB
        downloads = Downloads(
            self.context.directory, limit, on_this_machine=running.downloads is not None
        )
        session = BrowserSession(context, self.settings, downloads)
        try:
            await self._bring_back(session, kept)
            yield session
        finally:
            await downloads.close()
            await _close(context)

    async def _bring_back(self, session: BrowserSession, kept: Kept) -> None:
        session.restore(kept)
        if not kept.addresses:
            return
        session.note(
            f"the browser was started anew; {len(kept.addresses)} tabs were reopened from their "
            "addresses, but what was typed into pages is lost"
        )
        for address in kept.addresses:
            await self._reopen(session, address)
        await session.switch_to(session.tabs[min(kept.active, len(session.tabs) - 1)].tab_id)

    async def _reopen(self, session: BrowserSession, address: str) -> None:
        from playwright.async_api import Error

        tab = await session.open_tab()
        if address == BLANK:
            return
        try:
            await tab.page.goto(
                await checked_address(self.policy, address), wait_until="domcontentloaded"
            )
        except (Error, AnswerToModelError) as error:
            session.note(f"could not reopen {address[:100]}: {str(error).splitlines()[0]}")


def _storage(kept: Kept) -> StorageState | None:
    cookies, origins = kept.storage.get("cookies", []), kept.storage.get("origins", [])
    return {"cookies": cookies, "origins": origins} if cookies or origins else None


async def _refuse(route: Route) -> None:
    await route.abort("blockedbyclient")


async def _close(context: BrowserContext) -> None:
    from playwright.async_api import Error

    try:
        await context.close()
    except Error:
        _log.info("the browser was gone before its tabs were closed")
