"""One page of a crawl: fetched, and told what it is when it is no page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from core.errors import AnswerToModelError
from core.tool_settings import CrawlSettings
from tools.egress.fetch import Page, fetch
from tools.web_page import page_to_markdown


@dataclass(frozen=True, slots=True)
class CrawledPage:
    """``url`` is where the redirects led. ``error`` says why there is no text."""

    url: str
    depth: int = 0
    status: int | None = None
    content_type: str = ""
    title: str = ""
    markdown: str = ""
    links: tuple[str, ...] = ()
    truncated: bool = False
    error: str | None = None

    @property
    def word_count(self) -> int:
        return len(self.markdown.split())

    def facts(self) -> dict[str, Any]:
        """Everything but the text, as JSON."""
        return {
            "url": self.url,
            "depth": self.depth,
            "status": self.status,
            "content_type": self.content_type,
            "title": self.title,
            "word_count": self.word_count,
            "link_count": len(self.links),
            "links": list(self.links),
            "truncated": self.truncated,
            "error": self.error,
        }


async def read_page(
    client: httpx.AsyncClient, url: str, depth: int, settings: CrawlSettings
) -> CrawledPage:
    """A page as Markdown. What fails is said in the page, so that the others are read."""
    try:
        page = await fetch(
            client, url, settings.max_page_bytes, timeout_seconds=settings.page_timeout_seconds
        )
        if reason := _unreadable(page):
            return CrawledPage(page.url, depth, page.status, page.content_type, error=reason)
        return await _as_text(page, depth, settings)
    except AnswerToModelError as error:
        return CrawledPage(url, depth, error=str(error))


def _unreadable(page: Page) -> str | None:
    kind = page.content_type.partition(";")[0].strip().lower()
    if page.status >= 400:
        return f"the server answered {page.status}"
    if kind == "application/pdf" or page.body.startswith(b"%PDF-"):
        return "a PDF, which this tool does not read"
    if not page.is_text:
        return f"not a text ({kind or 'of unknown type'}), which this tool does not read"
    return None


async def _as_text(page: Page, depth: int, settings: CrawlSettings) -> CrawledPage:
    text = page.text
    known = CrawledPage(
        page.url, depth, page.status, page.content_type, truncated=page.truncated, markdown=text
    )
    kind = page.content_type.lower()
    if kind and "html" not in kind and "<html" not in text[:1000].lower():
        return known  # plain text, JSON, XML: as it is
    read = await page_to_markdown(text, page.url, timeout_seconds=settings.page_timeout_seconds)
    return CrawledPage(
        page.url,
        depth,
        page.status,
        page.content_type,
        title=read.title,
        markdown=read.markdown,
        links=read.links,
        truncated=page.truncated,
    )
