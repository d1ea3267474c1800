"""One Chromium for a process, started on first use and again after it died."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from core.tool_settings import BrowserSettings
from tools.browser.launch import Running, connected, launched
from tools.egress.policy import EgressPolicy
from tools.egress.proxy import EgressProxy
from tools.egress.upstream import Upstream
from tools.resources import Resources, resources

if TYPE_CHECKING:
    from playwright.async_api import ProxySettings

_log = logging.getLogger(__name__)
_NAME = "running"


class Chromium:
    """Every connection of it is decided by ``policy``."""

    def __init__(
        self, settings: BrowserSettings, policy: EgressPolicy, resources: Resources
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._resources = resources
        self._starting = asyncio.Lock()

    async def running(self) -> Running:
        """Raises EnvironmentUnusableError where it cannot be started."""
        async with self._starting:
            running = await self._resources.obtain(_NAME, self._opened)
            if running.browser.is_connected():
                return running
            try:
                await self._resources.release(_NAME)
            except Exception:  # noqa: BLE001 - what is left of a dead one must not stop a new one
                _log.warning("the dead browser did not close well", exc_info=True)
            return await self._resources.obtain(_NAME, self._opened)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Running]:
        from playwright.async_api import async_playwright

        async with AsyncExitStack() as stack:
            playwright = await stack.enter_async_context(async_playwright())
            running = await stack.enter_async_context(connected(playwright, self._settings))
            if running is None:
                proxy = await stack.enter_async_context(EgressProxy(self._policy, self._upstream()))
                starting = launched(playwright, self._settings, through(proxy))
                running = await stack.enter_async_context(starting)
            yield running

    def _upstream(self) -> Upstream | None:
        """``[browser.proxy]``, before the one that all egress has."""
        proxy = self._settings.proxy
        if proxy is None:
            return None
        server = proxy.server if "://" in proxy.server else f"http://{proxy.server}"
        login = quote(proxy.username or "", safe="")
        if proxy.password:
            login += ":" + quote(proxy.password.get_secret_value(), safe="")
        return Upstream.parse(server.replace("://", f"://{login}@", 1) if login else server)


def through(proxy: EgressProxy) -> ProxySettings:
    """As Playwright takes a proxy; loopback is no exception."""
    return {
        "server": proxy.server,
        "bypass": "<-loopback>",
        "username": proxy.username,
        "password": proxy.password,
    }


@asynccontextmanager
async def chromium(settings: BrowserSettings, policy: EgressPolicy) -> AsyncGenerator[Chromium]:
    """For the process's scope."""
    async with resources() as scope:
        yield Chromium(settings, policy, scope)
