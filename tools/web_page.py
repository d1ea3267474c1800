"""What a reader would read on a web page, as Markdown."""

from __future__ import annotations

import asyncio
import html as entities
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin, urlsplit

from core.errors import ToolFailedError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

MAX_LINKS = 500
_LONGEST_LINK = 2000
# trafilatura takes about 1.5 s for a megabyte; stripping tags takes milliseconds.
_MAX_EXTRACTED_CHARACTERS = 500_000
# Parsers written in C need time by the square of the depth, or crash, and hold the interpreter.
_MAX_DEPTH = 1000
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_TAG_START = re.compile(r"(/?)([a-zA-Z]+)|[!?/]")
_BLOCK_END = re.compile(
    r"(</(?:p|div|section|article|li|tr|h[1-6]|pre|blockquote|table|ul|ol|dt|dd|title)\s*>"
    r"|<br\s*/?>)",
    re.IGNORECASE,
)
_UNCLOSED = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "p",
        "li",
        "source",
        "track",
        "wbr",
        "td",
        "th",
        "tr",
        "dt",
        "dd",
        "option",
        "tbody",
        "thead",
        "tfoot",
    ]
)
_BOILERPLATE = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "iframe",
    "header",
    "footer",
    "nav",
    "aside",
    "form",
]


@dataclass(frozen=True, slots=True)
class PageText:
    """``links`` are absolute http addresses, each once, without fragments, in the page's order."""

    title: str
    markdown: str
    links: tuple[str, ...]

    @property
    def word_count(self) -> int:
        return len(self.markdown.split())


async def page_to_markdown(html: str, url: str, *, timeout_seconds: float = 20.0) -> PageText:
    """The main content of a page; ``url`` is what its links are relative to.

    Raises:
        ToolFailedError: it took too long.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.to_thread(_convert, html, url)
    except TimeoutError as error:
        raise ToolFailedError(f"{url}: not readable in {timeout_seconds:g} s") from error


def _convert(html: str, url: str) -> PageText:
    if _is_deep(html):
        text = _without_tags(_BLOCK_END.sub(r"\1" + "\n", html))
        return PageText("", _tidy(entities.unescape(text)), ())
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    title, links = _title(tree), _links(tree, url)
    markdown = _extracted(html, url) if len(html) <= _MAX_EXTRACTED_CHARACTERS else ""
    return PageText(title, markdown or _stripped(html), links)


def _is_deep(html: str) -> bool:
    """By the tags that stay open; an end without its start closes nothing, as in a parser."""
    open_tags: Counter[str] = Counter()
    depth = 0
    for end, name in _TAG.findall(html):
        tag = name.lower()
        if tag in _UNCLOSED:
            continue
        if not end:
            open_tags[tag] += 1
            depth += 1
        elif open_tags[tag]:
            open_tags[tag] -= 1
            depth -= 1
        if depth > _MAX_DEPTH:
            return True
    return False


def _without_tags(html: str) -> str:
    """Without a regular expression for a whole tag: it would take the square of a hostile page."""
    first, *pieces = html.split("<")
    kept, skipped = [first], ""
    for piece in pieces:
        start = _TAG_START.match(piece)
        name = (start[2] or "").lower() if start else ""
        if skipped:
            skipped = "" if start and start[1] and name == skipped else skipped
        elif start and not start[1] and name in ("script", "style"):
            skipped = name
        if start is None and not skipped:
            kept.append("<" + piece)
        elif not skipped:
            kept.append(" " + piece.partition(">")[2])
    return "".join(kept)


def _title(tree: LexborHTMLParser) -> str:
    for selector in ("title", "h1"):
        if (node := tree.css_first(selector)) and (text := node.text().strip()):
            return " ".join(text.split())[:300]
    return ""


def _links(tree: LexborHTMLParser, url: str) -> tuple[str, ...]:
    base_node = tree.css_first("base[href]")
    base = urljoin(url, (base_node.attributes.get("href") or "") if base_node else "")
    found: dict[str, None] = {}
    for node in tree.css("a[href]"):
        target = _absolute(base, node.attributes.get("href") or "")
        if target and len(target) <= _LONGEST_LINK and len(found) < MAX_LINKS:
            found[target] = None
    return tuple(found)


def _absolute(base: str, href: str) -> str | None:
    try:
        target = urldefrag(urljoin(base, href.strip())).url
        parts = urlsplit(target)
    except ValueError:  # such as an IPv6 address without its end
        return None
    return target if parts.scheme in ("http", "https") and parts.netloc else None


def _extracted(html: str, url: str) -> str:
    from trafilatura import extract

    return (
        extract(
            html,
            url=url,
            output_format="markdown",
            include_comments=False,
            include_formatting=True,
            include_links=True,
        )
        or ""
    )


def _stripped(html: str) -> str:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_BLOCK_END.sub(r"\1" + "\n", html))
    tree.strip_tags(_BOILERPLATE)
    return _tidy(tree.body.text()) if tree.body else ""


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
