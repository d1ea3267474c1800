"""One page over HTTP, within bounds of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from core.errors import ToolFailedError
from tools.egress.body import decode_text, read_body

MAX_PAGE_BYTES = 5_000_000
TEXT_TYPES = ("text/", "application/xhtml", "application/xml", "application/json", "application/ld")
_BINARY_STARTS = (b"%PDF-", b"PK\x03\x04", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"\x7fELF")


@dataclass(frozen=True, slots=True)
class Page:
    """``url`` is where the redirects led; ``body`` is decompressed, and cut where ``truncated``."""

    url: str
    status: int
    content_type: str
    body: bytes
    truncated: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def text(self) -> str:
        return decode_text(self.body, self.content_type)

    @property
    def is_text(self) -> bool:
        """Whether it is worth decoding: by its type, and by how it starts."""
        if self.body.startswith(_BINARY_STARTS) or b"\0" in self.body[:1024]:
            return self.body.startswith((b"\xff\xfe", b"\xfe\xff"))
        kind = self.content_type.strip().lower()
        return not kind or kind.startswith(TEXT_TYPES) or "+xml" in kind or "+json" in kind


@dataclass(frozen=True, slots=True)
class Request:
    """With ``redirects`` off, what carries a key goes to ``url`` and nowhere else."""

    url: str
    method: str = "GET"
    redirects: bool = True
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    json: Any = None
    form: Mapping[str, str] | None = None


async def fetch(
    client: httpx.AsyncClient,
    request: str | Request,
    max_bytes: int = MAX_PAGE_BYTES,
    *,
    timeout_seconds: float = 30.0,
) -> Page:
    """Whatever the status; redirects are followed.

    Raises:
        EgressDeniedError: the URL, or where it redirects to, is not allowed.
        ToolFailedError: no answer; ``details["retryable"]`` tells whether a later try may help.
    """
    asked = Request(request) if isinstance(request, str) else request
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _fetch(client, asked, max_bytes)
    except TimeoutError as error:
        raise _failed(asked, f"no whole answer in {timeout_seconds:g} s") from error
    except httpx.TransportError as error:
        raise _failed(asked, f"{error or type(error).__name__}") from error
    except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.CookieConflict) as error:
        raise ToolFailedError(f"{_short(asked.url)}: {error}") from error


async def _fetch(client: httpx.AsyncClient, asked: Request, max_bytes: int) -> Page:
    async with client.stream(
        asked.method,
        asked.url,
        params=dict(asked.params) or None,
        headers=dict(asked.headers),
        json=asked.json,
        data=dict(asked.form) if asked.form is not None else None,
        follow_redirects=asked.redirects,
    ) as answer:
        encoding = answer.headers.get("content-encoding", "")
        body, truncated = await read_body(answer.aiter_raw(), encoding, max_bytes)
        return Page(
            url=str(answer.url),
            status=answer.status_code,
            content_type=answer.headers.get("content-type", ""),
            body=body,
            truncated=truncated,
            headers=dict(answer.headers),
        )


def _failed(asked: Request, reason: str) -> ToolFailedError:
    return ToolFailedError(f"{_short(asked.url)}: could not be fetched: {reason}", retryable=True)


def _short(url: str) -> str:
    """Without the query, which may hold a key."""
    return url.partition("?")[0][:200]
