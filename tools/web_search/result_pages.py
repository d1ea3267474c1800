"""The result pages of Google, Bing, Baidu and DuckDuckGo.

These pages have no contract. The parsers go by what has lasted longest (a heading inside a link, a
list of results), and an engine whose page has changed is one that found nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tools.egress.fetch import Request
from tools.web_search.engine import PageEngine, PageMarks
from tools.web_search.model import Found, SearchQuery

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

GOOGLE_URL = "https://www.google.com/search"
BING_URL = "https://www.bing.com/search"
BAIDU_URL = "https://www.baidu.com/s"
DUCKDUCKGO_URL = "https://html.duckduckgo.com/html/"

# DuckDuckGo's regions are country-language, but for these.
_DUCKDUCKGO_COUNTRIES = {"gb": "uk"}
_DUCKDUCKGO_REGIONS = {"jp-ja": "jp-jp", "kr-ko": "kr-kr", "tw-zh": "tw-tzh", "hk-zh": "hk-tzh"}


def google(base_url: str | None = None) -> PageEngine:
    def request(query: SearchQuery) -> Request:
        params = {
            "q": query.text,
            "num": str(min(query.count + 2, 20)),
            "hl": query.locale if "-" in query.lang else query.language,
            "gl": query.country,
        }
        return Request(base_url or GOOGLE_URL, params=params)

    marks = PageMarks(
        captcha=("/sorry/", "unusual traffic"),
        consent=("consent.google.", "consent.youtube.", "Before you continue to Google"),
        blocked=("/httpservice/retry/enablejs", "enablejs?sei="),
    )
    return PageEngine("google", GOOGLE_URL, request, parse_google, marks)


def parse_google(html: str) -> Iterator[Found]:
    for link in _parsed(html).css("a[href]"):
        heading = link.css_first("h3")
        # The layout for old browsers has no h3, but headings by role.
        title = heading or link.css_first('[role="heading"]')
        if title is None or _inside(link, "tads", "tadsb", "bottomads"):
            continue
        block = _block(link)
        yield Found(
            _attribute(link, "href"),
            title.text(),
            _first_text(block, "[data-sncf]", ".VwiC3b", ".IsZvec", ".s3v9rd", ".st"),
        )


def bing(base_url: str | None = None) -> PageEngine:
    def request(query: SearchQuery) -> Request:
        params = {
            "q": query.text,
            "count": str(min(query.count + 2, 30)),
            "setlang": query.lang,
            "cc": query.country.upper(),
            "mkt": f"{query.language}-{query.country.upper()}",
        }
        return Request(base_url or BING_URL, params=params)

    marks = PageMarks(captcha=("b_captcha", "/challenge/verify", "/turing/captcha"))
    return PageEngine("bing", BING_URL, request, parse_bing, marks)


def parse_bing(html: str) -> Iterator[Found]:
    for item in _parsed(html).css("li.b_algo"):
        if link := item.css_first("h2 a[href]"):
            description = _first_text(item, ".b_caption p", ".b_lineclamp2", ".b_algoSlug", "p")
            yield Found(_attribute(link, "href"), link.text(), description[:300])


def baidu(base_url: str | None = None) -> PageEngine:
    def request(query: SearchQuery) -> Request:
        # Baidu has no parameters for language or country; it is told by Accept-Language alone.
        params = {"wd": query.text, "rn": str(min(query.count + 2, 50)), "ie": "utf-8"}
        return Request(base_url or BAIDU_URL, params=params)

    marks = PageMarks(
        captcha=("wappass.baidu.com", "百度安全验证", "/static/captcha/"),
        blocked=("网络不给力",),
    )
    return PageEngine("baidu", BAIDU_URL, request, parse_baidu, marks)


def parse_baidu(html: str) -> Iterator[Found]:
    for item in _parsed(html).css("div.result, div.c-container"):
        link = item.css_first("h3 a[href]")
        if link is None or "ec_" in _attribute(item, "class") or item.css_first(".ec-tuiguang"):
            continue
        # The real address stands in an attribute; the link itself is a redirect.
        url = _attribute(item, "mu") or _attribute(link, "href")
        selectors = (".c-abstract", '[class*="content-right"]', ".c-span-last", ".c-row")
        yield Found(url, link.text(), _first_text(item, *selectors))


def duckduckgo(base_url: str | None = None) -> PageEngine:
    def request(query: SearchQuery) -> Request:
        form = {"q": query.text, "b": "", "kl": _duckduckgo_region(query)}
        return Request(base_url or DUCKDUCKGO_URL, "POST", form=form)

    marks = PageMarks(captcha=("anomaly-modal", "anomaly.js", "challenge-form"))
    return PageEngine("duckduckgo", DUCKDUCKGO_URL, request, parse_duckduckgo, marks)


def parse_duckduckgo(html: str) -> Iterator[Found]:
    """The ``html`` page, or else the ``lite`` one, whose rows of a table belong together."""
    tree = _parsed(html)
    for item in tree.css("div.result"):
        link = item.css_first("a.result__a[href]")
        if link and "result--ad" not in _attribute(item, "class"):
            yield Found(
                _attribute(link, "href"), link.text(), _first_text(item, ".result__snippet")
            )
    snippets = [node.text() for node in tree.css("td.result-snippet")]
    for place, link in enumerate(tree.css("a.result-link[href]")):
        description = snippets[place] if place < len(snippets) else ""
        yield Found(_attribute(link, "href"), link.text(), description)


def _duckduckgo_region(query: SearchQuery) -> str:
    country = _DUCKDUCKGO_COUNTRIES.get(query.country, query.country)
    region = f"{country}-{query.language}"
    return _DUCKDUCKGO_REGIONS.get(region, region)


def _parsed(html: str) -> LexborHTMLParser:
    from selectolax.lexbor import LexborHTMLParser

    return LexborHTMLParser(html)


def _attribute(node: LexborNode, name: str) -> str:
    return node.attributes.get(name) or ""


def _first_text(node: LexborNode, *selectors: str) -> str:
    for selector in selectors:
        if (found := node.css_first(selector)) and (text := found.text().strip()):
            return text
    return ""


def _inside(node: LexborNode, *ids: str) -> bool:
    above = node.parent
    while above is not None:
        if above.attributes and above.attributes.get("id") in ids:
            return True
        above = above.parent
    return False


def _block(link: LexborNode) -> LexborNode:
    """The widest element around a result's link that holds no other result."""
    node = link
    while (above := node.parent) is not None and above.tag not in ("body", "html"):
        if len(above.css("h3, [role=heading]")) > 1:
            break
        node = above
    return node
