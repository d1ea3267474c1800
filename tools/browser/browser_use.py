"""The tool ``browser_use``: actions of OpenManus on a real browser, and the page's state."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from core.errors import AnswerToModelError, ToolFailedError
from core.message import ImagePart, TextPart
from core.tool_settings import BrowserSettings
from tools.base import BaseTool, ToolAnnotations, ToolResult
from tools.browser import interaction, navigation, reading
from tools.browser.arguments import PARAMETERS, Action, BrowserCall, checked_call
from tools.browser.chromium import chromium
from tools.browser.desk import Desk
from tools.browser.memory import forget_tabs, write_kept
from tools.browser.opening import Opening
from tools.browser.session import BrowserSession
from tools.browser.state import state_text
from tools.egress.policy import EgressPolicy

_log = logging.getLogger(__name__)
_NAME = "browser_use"
_JPEG_QUALITY = 60
_OTHER_PARTIES_SECONDS = 300.0

_ACTIONS: Mapping[Action, Callable[[Desk, BrowserCall], Awaitable[str]]] = {
    "go_to_url": navigation.go_to_url,
    "click_element": interaction.click_element,
    "input_text": interaction.input_text,
    "scroll_down": interaction.scroll_down,
    "scroll_up": interaction.scroll_up,
    "scroll_to_text": interaction.scroll_to_text,
    "send_keys": interaction.send_keys,
    "get_dropdown_options": interaction.get_dropdown_options,
    "select_dropdown_option": interaction.select_dropdown_option,
    "go_back": navigation.go_back,
    "web_search": navigation.web_search,
    "wait": navigation.wait,
    "extract_content": reading.extract_content,
    "switch_tab": navigation.switch_tab,
    "open_tab": navigation.open_tab,
    "close_tab": navigation.close_tab,
    "refresh": navigation.refresh,
    "snapshot": reading.snapshot,
    "upload_file": interaction.upload_file,
}


class BrowserUse(BaseTool):
    """One browser for the process, one set of tabs for each attempt of a step.

    Its risk is low unless ``[browser] risk`` says otherwise: what a page shows is untrusted, so
    high would have a person asked about every link that is followed. A click found in flight on
    resume may have sent something, hence ``on_unknown``.
    """

    name = _NAME
    description = (
        "Works with web pages in a browser. Each answer shows the state of the page for the next "
        "turn: elements in view with numbers to use as 'index', and how much is above and below. "
        "Use extract_content to read a page. Files a page sends are saved in downloads/."
    )
    parameters = PARAMETERS
    on_unknown = "fail"

    def __init__(
        self,
        settings: BrowserSettings | None = None,
        policy: EgressPolicy | None = None,
        search: BaseTool | None = None,
    ) -> None:
        self._settings = settings or BrowserSettings()
        self._policy = policy or EgressPolicy()
        self._search = search
        self.annotations = ToolAnnotations(
            network=True, untrusted_output=True, risk=self._settings.risk
        )

    async def execute(self, action: Action, **arguments: Any) -> ToolResult:
        from playwright.async_api import Error

        call = checked_call(action, arguments)
        try:
            session = await self._session()
        except Error as error:
            raise ToolFailedError(f"the browser does not work: {_brief(error)}") from error
        async with session.busy:
            result = await self._done(session, call)
            if not session.alive:
                return await self._after_crash(session)
            return result

    async def _session(self) -> BrowserSession:
        """The step's tabs; new ones where there are none, or their browser died."""
        scopes = self.context.scopes
        # Who may connect elsewhere must not be lent a browser that may connect here.
        name = f"{_NAME}-{hash(self._policy.settings)}"
        browser = await scopes.process.obtain(name, lambda: chromium(self._settings, self._policy))
        opening = Opening(browser, self._settings, self._policy, self.context)
        session = await scopes.step.obtain(_NAME, opening.session)
        if not session.alive:
            await self._leave(session)
            session = await scopes.step.obtain(_NAME, opening.session)
            session.note("the browser or a page had crashed since; these tabs are new")
        return session

    async def _leave(self, session: BrowserSession) -> None:
        """After a page's crash its tabs are not reopened: one of them may have been the cause."""
        await self.context.scopes.step.release(_NAME)
        if session.crashed:
            await asyncio.to_thread(forget_tabs, self.context.private)

    async def _done(self, session: BrowserSession, call: BrowserCall) -> ToolResult:
        from playwright.async_api import Error

        search = self._search.bind(self.context) if self._search else None
        desk = Desk(session, self.context, self._policy, search)
        try:
            async with asyncio.timeout(self._bound_seconds(call)):
                output = await _ACTIONS[call.action](desk, call)
            result = ToolResult(output=output)
        except AnswerToModelError as error:
            result = ToolResult(error=str(error))
        except Error as error:
            result = ToolResult(error=f"{call.action} failed: {_brief(error)}")
        except TimeoutError:
            result = ToolResult(error=f"{call.action}: the page did not react in time")
        state = await self._state(session)
        await self._keep(session)
        return result.model_copy(update={"state": state})

    async def _keep(self, session: BrowserSession) -> None:
        """What could not be kept is missing after a crash only; the action itself is done."""
        from playwright.async_api import Error

        if self.context.private is None:
            return
        try:
            await asyncio.to_thread(write_kept, self.context.private, await session.kept())
        except Error:
            _log.info("the tabs could not be kept", exc_info=True)

    def _bound_seconds(self, call: BrowserCall) -> float:
        """Above Playwright's own time limits: for what has none, such as a script that loops."""
        own = self._settings.navigation_timeout_seconds + self._settings.action_timeout_seconds
        asks_others = call.action in ("web_search", "extract_content")
        return own + call.seconds + 5 + (_OTHER_PARTIES_SECONDS if asks_others else 0)

    async def _state(self, session: BrowserSession) -> tuple[TextPart | ImagePart, ...]:
        """The page as it is now; what cannot be seen is said, as the action itself is done."""
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(self._settings.action_timeout_seconds):
                view = await session.look()
                tabs = await session.tab_lines()
                text = state_text(view, tabs, session.take_notes())
                images = await self._screenshot(session)
        except (Error, TimeoutError, ValueError) as error:
            _log.info("the page cannot be looked at", exc_info=True)
            notes = "".join(f" Note: {note[:200]}." for note in session.take_notes()[:4])
            reason = "it is busy" if isinstance(error, TimeoutError) else _brief(error)
            return (TextPart(text=f"The page cannot be looked at: {reason}.{notes}"),)
        return (TextPart(text=text), *images)

    async def _screenshot(self, session: BrowserSession) -> tuple[ImagePart, ...]:
        if not self._settings.screenshots:
            return ()
        page = (await session.tab()).page
        image = await page.screenshot(type="jpeg", quality=_JPEG_QUALITY, scale="css")
        return (ImagePart(media_type="image/jpeg", data=base64.b64encode(image).decode()),)

    async def _after_crash(self, session: BrowserSession) -> ToolResult:
        await self._leave(session)
        what = "the page" if session.crashed else "the browser"
        notes = "".join(f"; {note[:200]}" for note in session.take_notes()[:4])
        return ToolResult(error=f"{what} crashed; the next call starts a new one{notes}")


def _brief(error: Exception) -> str:
    """Playwright's errors end with a log of the call."""
    first = str(error).strip().splitlines()[:1]
    return first[0][:300] if first else type(error).__name__
