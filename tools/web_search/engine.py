"""What a search engine is, and the two families of them: result pages and JSON APIs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import httpx

from core.errors import ToolFailedError
from tools.egress.fetch import Page, Request, fetch
from tools.egress.policy import EgressPolicy
from tools.web_search.links import distinct
from tools.web_search.model import Found, SearchQuery

_MAX_ANSWER_BYTES = 3_000_000


@dataclass(frozen=True, slots=True)
class SearchWire:
    """How an engine reaches the network. ``timeout_seconds`` is for one request."""

    client: httpx.AsyncClient
    policy: EgressPolicy
    timeout_seconds: float = 10.0

    async def get(self, request: Request) -> Page:
        return await fetch(
            self.client, request, _MAX_ANSWER_BYTES, timeout_seconds=self.timeout_seconds
        )


class SearchEngine(Protocol):
    @property
    def name(self) -> str: ...

    async def search(self, query: SearchQuery, wire: SearchWire) -> list[Found]:
        """At least one hit, at most ``query.count``.

        Raises:
            EgressDeniedError: the egress settings forbid the engine's address.
            ToolFailedError: no hits, and why; ``retryable`` when a second try may help.
        """
        ...


@dataclass(frozen=True, slots=True)
class PageMarks:
    """Pieces of text, or of the final address, by which pages without results are told apart."""

    captcha: tuple[str, ...] = ()
    consent: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()


_ANY_CAPTCHA = ("g-recaptcha", "h-captcha", "cf-turnstile", "cf-challenge", "captcha-form")


@dataclass(frozen=True, slots=True)
class PageEngine:
    """Reads an engine's result page: what is asked, and how the answer is read, apart.

    ``origin`` is what relative links are relative to, also where a mirror answers.
    """

    name: str
    origin: str
    request: Callable[[SearchQuery], Request]
    parse: Callable[[str], Iterable[Found]]
    marks: PageMarks

    async def search(self, query: SearchQuery, wire: SearchWire) -> list[Found]:
        page = await wire.get(_as_browser(self.request(query), query))
        text = page.text
        # Results first: a hit may well be about captchas.
        hits = distinct(self.parse(text), self.origin, query.count) if page.status == 200 else []
        if hits:
            return hits
        if reason := why_blocked(text, page.url, self.marks):
            raise ToolFailedError(reason)
        check_status(page)
        raise ToolFailedError("found nothing, or its page has changed")


@dataclass(frozen=True, slots=True)
class ApiEngine:
    """Reads an engine's JSON."""

    name: str
    request: Callable[[SearchQuery], Request]
    parse: Callable[[Any], Iterable[Found]]

    async def search(self, query: SearchQuery, wire: SearchWire) -> list[Found]:
        # A redirect would take the key with it: only Authorization is known to be a secret.
        page = await wire.get(replace(self.request(query), redirects=False))
        if page.status in (401, 403):
            raise ToolFailedError(f"refused the key ({page.status})")
        check_status(page)
        try:
            hits = distinct(self.parse(json.loads(page.body)), page.url, query.count)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ToolFailedError("the answer is not its API's") from error
        if not hits:
            raise ToolFailedError("found nothing")
        return hits


def check_status(page: Page) -> None:
    """Raises ToolFailedError for anything but 200; 202 is how DuckDuckGo turns away."""
    if page.status in (429, 403, 202):
        raise ToolFailedError(f"blocked: too many or unwanted requests ({page.status})")
    if page.status != 200:
        raise ToolFailedError(f"answered {page.status}", retryable=page.status >= 500)


def why_blocked(text: str, url: str, marks: PageMarks) -> str | None:
    whole = f"{url}\n{text}"
    for reason, texts in (
        ("asks for a CAPTCHA", (*marks.captcha, *_ANY_CAPTCHA)),
        ("shows a consent page", marks.consent),
        ("blocked: shows no results to programs", marks.blocked),
    ):
        if any(mark in whole for mark in texts):
            return reason
    return None


def _as_browser(request: Request, query: SearchQuery) -> Request:
    """With the language, which some engines read here alone."""
    accepted = f"{query.locale},{query.language};q=0.9"
    headers = {"Accept": "text/html,application/xhtml+xml", "Accept-Language": accepted}
    return Request(
        request.url,
        request.method,
        params=request.params,
        headers={**headers, **request.headers},
        form=request.form,
    )
