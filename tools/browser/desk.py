"""What an action works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import ToolFailedError
from core.tool_settings import BrowserSettings
from tools.base import BaseTool, ToolContext
from tools.browser.session import BrowserSession
from tools.egress.policy import EgressPolicy

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Page

_SETTLE_SECONDS = 0.2
_DOWNLOAD_SECONDS = 2.0


class StaleIndexError(ToolFailedError):
    """A number that is not, or no longer, what the model saw."""


@dataclass(frozen=True, slots=True)
class Desk:
    """``search`` is bound to ``context``, like everything a call may use."""

    session: BrowserSession
    context: ToolContext
    policy: EgressPolicy
    search: BaseTool | None

    @property
    def settings(self) -> BrowserSettings:
        return self.session.settings

    async def page(self) -> Page:
        return (await self.session.tab()).page

    async def element(self, index: int) -> ElementHandle:
        """Raises StaleIndexError for a number that does not mean what was shown."""
        found = await (await self.session.tab()).index.find(index)
        if found is None:
            known = "was never given" if index > self.session.numbers.highest else "is gone"
            raise StaleIndexError(
                f"element {index} {known} or is on another tab: the page is not as it was when "
                "that number was shown. Choose from the new state"
            )
        return found

    async def shown_as(self, index: int) -> str:
        """An element as the model saw it."""
        from tools.browser.state import described

        look = (await self.session.tab()).index.look_of(index)
        return f"[{index}] {described(look)}" if look else f"[{index}]"

    async def settle(self) -> None:
        """A moment for what an action set off: a script, a navigation, a popup, a download."""
        from playwright.async_api import TimeoutError as TooSlow

        await asyncio.sleep(_SETTLE_SECONDS)
        try:
            await (await self.page()).wait_for_load_state("domcontentloaded")
        except TooSlow:
            self.session.note("the page is still loading")
        await self.session.downloads.settle(_DOWNLOAD_SECONDS)
