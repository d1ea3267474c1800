"""What one crawl owes the sites it visits: their robots.txt, and time between requests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from core.errors import EgressDeniedError, ToolFailedError
from core.tool_settings import CrawlSettings
from tools.crawl.robots_txt import FORBIDDEN, MAX_ROBOTS_BYTES, RobotsTxt, parse_robots
from tools.egress.fetch import fetch

AGENT = "manus-flows"


@dataclass(slots=True)
class _Site:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    robots: RobotsTxt | None = None
    free_at: float = 0.0


class Sites:
    """Sites by scheme, host and port."""

    def __init__(self, client: httpx.AsyncClient, settings: CrawlSettings) -> None:
        self._client = client
        self._settings = settings
        self._sites: dict[str, _Site] = {}

    async def admit(self, url: str, *, wait: bool = True) -> bool:
        """Whether the site lets us read ``url``; waits until that may be done.

        Raises:
            EgressDeniedError: the site may not be connected to.
        """
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        site = self._sites.setdefault(origin, _Site())
        async with site.lock:
            if site.robots is None:
                site.robots = await self._robots(origin)
            if not site.robots.allows(url):
                return False
            if wait:
                await self._wait_for_turn(site, site.robots)
        return True

    async def _wait_for_turn(self, site: _Site, robots: RobotsTxt) -> None:
        asked = min(robots.delay_seconds or 0.0, self._settings.max_delay_seconds)
        now = asyncio.get_running_loop().time()
        if site.free_at > now:
            await asyncio.sleep(site.free_at - now)
        free_at = asyncio.get_running_loop().time() + max(asked, self._settings.delay_seconds)
        site.free_at = free_at

    async def _robots(self, origin: str) -> RobotsTxt:
        """RFC 9309, 2.3.1: no such file allows all, a server in trouble nothing."""
        if not self._settings.respect_robots:
            return RobotsTxt()
        try:
            page = await fetch(
                self._client,
                f"{origin}/robots.txt",
                MAX_ROBOTS_BYTES,
                timeout_seconds=self._settings.page_timeout_seconds,
            )
        except EgressDeniedError:
            raise
        except ToolFailedError:
            return RobotsTxt()  # the page itself will say that there is no connection
        if page.status >= 500:
            return FORBIDDEN
        return parse_robots(page.text, AGENT) if page.status == 200 else RobotsTxt()
