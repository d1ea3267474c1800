"""Addresses of hits: unwrapped from the engines' redirects, without ads, each once."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qs, urldefrag, urljoin, urlsplit

from tools.web_search.model import Found

_AD_MARKS = ("/aclk", "/aclick", "/y.js", "/pagead/", "/baidu.php")
_GOOGLE_PATHS = ("/url", "/imgres")


def unwrap(url: str, page_url: str) -> str | None:
    """Where a hit really leads; None for an advertisement, or what is no web address.

    Baidu's ``/link?url=`` holds no address: it is left as it is, and leads there by a redirect.
    """
    for _ in range(3):
        parts = _split(page_url, url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
            return None
        if _is_ad(parts.hostname or "", parts.path, parts.query):
            return None
        inner = _inner(parts.hostname or "", parts.path, parse_qs(parts.query))
        if inner is None:
            return parts.geturl()
        url = inner
    return None


def distinct(found: Iterable[Found], page_url: str, count: int) -> list[Found]:
    """Unwrapped and at most ``count``; two that differ in scheme, ``www.`` or end slash are one."""
    kept: dict[str, Found] = {}
    for hit in found:
        url = unwrap(hit.url, page_url)
        if url and hit.title.strip() and (key := _key(url)) not in kept:
            kept[key] = Found(url, _clean(hit.title), _clean(hit.description))
        if len(kept) == count:
            break
    return list(kept.values())


def _split(page_url: str, url: str) -> SplitResult | None:
    try:
        return urlsplit(urljoin(page_url, url.strip()))
    except ValueError:
        return None


def _is_ad(host: str, path: str, query: str) -> bool:
    of_engine = any(name in host for name in ("google.", "bing.com", "duckduckgo.com", "baidu.com"))
    return of_engine and (path.startswith(_AD_MARKS) or "ad_domain=" in query)


def _inner(host: str, path: str, query: dict[str, list[str]]) -> str | None:
    if "google." in host and path in _GOOGLE_PATHS:
        return _first(query, "q", "url", "imgrefurl")
    if host.endswith("duckduckgo.com") and path.startswith("/l/"):
        return _first(query, "uddg")
    if host.endswith("bing.com") and path.startswith("/ck/a"):
        return _bing_target(_first(query, "u") or "")
    return None


def _first(query: dict[str, list[str]], *names: str) -> str | None:
    return next((query[name][0] for name in names if query.get(name)), None)


def _bing_target(packed: str) -> str | None:
    """``a1`` and URL-safe base64 without its padding."""
    if not packed.startswith("a1"):
        return None
    data = packed[2:]
    try:
        return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)).decode() or None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _key(url: str) -> str:
    parts = urlsplit(urldefrag(url).url)
    return f"{parts.netloc.lower().removeprefix('www.')}{parts.path.rstrip('/')}?{parts.query}"


def _clean(text: str) -> str:
    return " ".join(text.split())[:500]
