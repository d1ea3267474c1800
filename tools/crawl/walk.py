"""From page to page, level by level, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urldefrag, urlsplit

import httpx

from core.errors import AnswerToModelError, ToolFailedError
from core.tool_settings import CrawlSettings
from tools.crawl.pages import CrawledPage, read_page
from tools.crawl.sites import AGENT, Sites
from tools.egress.client import guarded_client
from tools.egress.policy import EgressPolicy

_USER_AGENT = f"Mozilla/5.0 (compatible; {AGENT}/0.1)"


@dataclass(frozen=True, slots=True)
class CrawlPlan:
    """``same_site`` keeps to the hosts of ``urls``, with or without ``www.``."""

    urls: tuple[str, ...]
    max_depth: int = 0
    max_pages: int = 10
    same_site: bool = True
    timeout_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class CrawlOutcome:
    """``notes`` say where the crawl was cut short."""

    pages: tuple[CrawledPage, ...]
    notes: tuple[str, ...] = ()


async def crawl(plan: CrawlPlan, settings: CrawlSettings, policy: EgressPolicy) -> CrawlOutcome:
    """Reads pages breadth first, each address once. A page that fails does not stop the others."""
    async with guarded_client(
        policy, timeout_seconds=settings.page_timeout_seconds, user_agent=_USER_AGENT
    ) as client:
        walk = _Walk(plan, settings, policy, client)
        try:
            async with asyncio.timeout(plan.timeout_seconds):
                await walk.run()
        except TimeoutError:
            walk.note_time_is_up()
    return CrawlOutcome(walk.pages, tuple(walk.notes))


@dataclass(slots=True)
class _Walk:
    plan: CrawlPlan
    settings: CrawlSettings
    policy: EgressPolicy
    client: httpx.AsyncClient
    notes: list[str] = field(default_factory=list[str])
    _started: int = 0
    _read: dict[int, CrawledPage] = field(default_factory=dict[int, CrawledPage])
    _seen: set[str] = field(default_factory=set[str])
    _hosts: set[str] = field(default_factory=set[str])

    @property
    def pages(self) -> tuple[CrawledPage, ...]:
        """In the order they were found."""
        return tuple(self._read[number] for number in sorted(self._read))

    async def run(self) -> None:
        sites = Sites(self.client, self.settings)
        bound = asyncio.Semaphore(self.settings.concurrency)
        self._hosts = {_host(url) for url in self.plan.urls}
        level = self._fresh(self.plan.urls)
        for depth in range(self.plan.max_depth + 1):
            first = self._started
            async with asyncio.TaskGroup() as group:
                for url in level[: self.plan.max_pages - first]:
                    group.create_task(self._visit(self._started, url, depth, sites, bound))
                    self._started += 1
            if self._started - first < len(level):
                self.notes.append(f"Stopped at {self.plan.max_pages} pages; there were more.")
                return
            level = self._fresh(self._links_of(range(first, self._started)))

    def note_time_is_up(self) -> None:
        left = self._started - len(self._read)
        self.notes.append(
            f"The {self.plan.timeout_seconds:g} s were up; {left} pages that had begun were left."
        )

    async def _visit(
        self, number: int, url: str, depth: int, sites: Sites, bound: asyncio.Semaphore
    ) -> None:
        try:
            self.policy.check_form(url)
            if not await sites.admit(url):
                raise ToolFailedError("robots.txt does not allow it")
            async with bound:
                page = await read_page(self.client, url, depth, self.settings)
            if page.url != url and not await sites.admit(page.url, wait=False):
                raise ToolFailedError(f"robots.txt does not allow where it leads: {page.url}")
        except AnswerToModelError as error:
            page = CrawledPage(url, depth, error=str(error))
        self._seen.add(_key(page.url))
        if depth == 0:
            self._hosts.add(_host(page.url))
        self._read[number] = page

    def _links_of(self, numbers: Iterable[int]) -> list[str]:
        links = [link for number in numbers for link in self._read[number].links]
        return [link for link in links if not self.plan.same_site or _host(link) in self._hosts]

    def _fresh(self, urls: Iterable[str]) -> list[str]:
        fresh: list[str] = []
        for url in urls:
            if (key := _key(url)) not in self._seen:
                self._seen.add(key)
                fresh.append(url)
        return fresh


def _key(url: str) -> str:
    try:
        return urldefrag(url).url.rstrip("/")
    except ValueError:
        return url


def _host(url: str) -> str:
    try:
        return (urlsplit(url).netloc or "").lower().removeprefix("www.")
    except ValueError:
        return ""
