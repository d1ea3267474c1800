"""Parsers on synthetic pages: that they read a layout, not that a live engine still has it."""

import base64
from collections.abc import Callable, Iterable

import pytest

from tests.tools.web_search import synthetic_pages as pages
from tools.web_search import result_pages
from tools.web_search.links import distinct, unwrap
from tools.web_search.model import Found

PARSERS: list[tuple[Callable[[str], Iterable[Found]], str, str, list[Found]]] = [
    (
        result_pages.parse_google,
        pages.GOOGLE,
        "https://www.google.com/search",
        [
            Found("https://example.org/a", "First hit", "About the first."),
            Found("https://example.org/b", "Second hit", "About the second."),
        ],
    ),
    (
        result_pages.parse_bing,
        pages.BING,
        "https://www.bing.com/search",
        [
            Found("https://example.org/a", "First hit", "About the first."),
            Found("https://example.org/b?x=1", "Second", "About the second."),
        ],
    ),
    (
        result_pages.parse_baidu,
        pages.BAIDU,
        "https://www.baidu.com/s",
        [
            Found("https://example.org/a", "第一", "摘要一"),
            Found("http://www.baidu.com/link?url=def", "第二", "摘要二"),
        ],
    ),
    (
        result_pages.parse_duckduckgo,
        pages.DUCKDUCKGO,
        "https://html.duckduckgo.com/html/",
        [
            Found("https://example.org/a?x=1", "First hit", "About the first."),
            Found("https://example.org/b", "Second hit"),
        ],
    ),
    (
        result_pages.parse_duckduckgo,
        pages.DUCKDUCKGO_LITE,
        "https://lite.duckduckgo.com/lite/",
        [Found("https://example.org/a", "First hit", "About the first.")],
    ),
]


@pytest.mark.parametrize(("parse", "html", "url", "expected"), PARSERS)
def test_hits_are_read_without_ads_wrappers_and_repetitions(
    parse: Callable[[str], Iterable[Found]], html: str, url: str, expected: list[Found]
) -> None:
    assert distinct(parse(html), url, 10) == expected
    assert distinct(parse(html), url, 1) == expected[:1]


@pytest.mark.parametrize("parse", [parser for parser, *_ in PARSERS])
@pytest.mark.parametrize("html", ["", "<html>", pages.GOOGLE_CAPTCHA, "\0<a href='http://['><h3>"])
def test_a_page_without_hits_has_none(parse: Callable[[str], Iterable[Found]], html: str) -> None:
    assert distinct(parse(html), "https://engine.test/", 10) == []


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/url?q=https://a.test/%3Fx&sa=U", "https://a.test/?x"),
        ("/url?url=https://a.test/&sa=U", "https://a.test/"),
        ("//duckduckgo.com/l/?uddg=https%3A%2F%2Fa.test%2F", "https://a.test/"),
        ("https://www.bing.com/ck/a?u=a1!!!", "https://www.bing.com/ck/a?u=a1!!!"),
        ("https://www.google.com/aclk?sa=l", None),
        ("https://duckduckgo.com/y.js?ad_provider=x", None),
        ("/url?q=javascript:alert(1)", None),
        ("/url?q=file:///etc/passwd", None),
        ("mailto:a@b.test", None),
        ("http://[broken", None),
    ],
)
def test_wrapped_addresses_are_unwrapped(url: str, target: str | None) -> None:
    assert unwrap(url, "https://www.google.com/search") == target


def test_a_wrapper_in_a_wrapper_is_unwrapped_to_its_end() -> None:
    inner = base64.urlsafe_b64encode(b"https://www.google.com/url?q=https://a.test/").decode()
    url = f"https://www.bing.com/ck/a?u=a1{inner.rstrip('=')}"
    assert unwrap(url, "https://www.bing.com/") == "https://a.test/"
