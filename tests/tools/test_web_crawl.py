from typing import Any

from core.settings import Settings
from tests.tools.egress.wire import Answer, Pages, Target, target
from tools.base import ToolContext, ToolResult
from tools.invoke import invoke
from tools.web_crawl import WebCrawl
from tools.workspace import StepDirectory


def html(title: str, *links: str, text: str = "Some words.") -> Answer:
    anchors = "".join(f'<li><a href="{link}">to {link}</a></li>' for link in links)
    body = f"<title>{title}</title><article><h1>{title}</h1><p>{text}</p></article><ul>{anchors}"
    return Answer(f"<html><body>{body}</ul></body></html>".encode())


async def crawl(
    directory: StepDirectory, *servers: Target, crawl: Any = None, **arguments: Any
) -> ToolResult:
    settings = Settings.model_validate(
        {
            "crawl": {"delay_seconds": 0, **(crawl or {})},
            "egress": {"allow_hosts": [server.place for server in servers]},
        }
    )
    return await invoke(WebCrawl(settings).bind(ToolContext(directory)), arguments)


def paths(result: ToolResult) -> list[str]:
    return [page["url"].partition("//")[2].partition("/")[2] for page in result.data["pages"]]


SITE: Pages = {
    "/a": html("A", "/b", "/c#x", "mailto:x@y.test"),
    "/b": html("B", "/a", "/d"),
    "/c": html("C", "/d", "/b"),
    "/d": html("D", "/e"),
    "/e": html("E"),
}


async def test_a_page_is_told_with_its_title_text_and_counts(directory: StepDirectory) -> None:
    async with target(SITE) as site:
        result = await crawl(directory, site, urls=[f"{site.url}/a"])
    (page,) = result.data["pages"]
    assert (page["status"], page["title"], page["link_count"]) == (200, "A", 2)
    assert page["links"] == [f"{site.url}/b", f"{site.url}/c"]
    assert page["word_count"] == len(page["markdown"].split()) > 2
    assert "Some words." in result.output
    assert site.paths == ["/robots.txt", "/a"]


async def test_links_are_followed_breadth_first_within_depth_and_each_once(
    directory: StepDirectory,
) -> None:
    async with target(SITE) as site:
        result = await crawl(directory, site, urls=[f"{site.url}/a"], max_depth=2)
    assert paths(result) == ["a", "b", "c", "d"]
    assert [page["depth"] for page in result.data["pages"]] == [0, 1, 1, 2]
    assert sorted(site.paths) == ["/a", "/b", "/c", "/d", "/robots.txt"]


async def test_the_number_of_pages_is_bounded_and_that_is_said(directory: StepDirectory) -> None:
    async with target(SITE) as site:
        result = await crawl(directory, site, urls=[f"{site.url}/a"], max_depth=5, max_pages=2)
        assert (paths(result), len(site.hits)) == (["a", "b"], 3)
        assert "Stopped at 2 pages" in result.output
        refused = await crawl(
            directory, site, crawl={"max_pages": 5}, urls=[f"{site.url}/a"], max_pages=6
        )
        assert "[crawl] max_pages" in (refused.error or "")
        assert len(site.hits) == 3


async def test_other_sites_are_read_only_when_asked_for(directory: StepDirectory) -> None:
    async with target({"/x": html("X")}) as other, target() as site:
        site.pages = {"/a": html("A", f"{other.url}/x")}
        urls = [f"{site.url}/a"]
        same = await crawl(directory, site, other, urls=urls, max_depth=1)
        assert (paths(same), other.hits) == (["a"], [])
        both = await crawl(directory, site, other, urls=urls, max_depth=1, same_site=False)
        assert paths(both) == ["a", "x"]


async def test_nothing_inside_is_reached_by_link_or_redirect(directory: StepDirectory) -> None:
    async with target() as secret:
        pages: Pages = {
            "/a": html("A", secret.url, "/moved"),
            "/moved": Answer(b"", 302, {"location": secret.url}),
        }
        async with target(pages) as site:
            urls = [f"{site.url}/a", "file:///etc/passwd", "http://169.254.169.254/", "http://["]
            result = await crawl(directory, site, urls=urls, max_depth=1, same_site=False)
    assert secret.hits == []
    errors = {page["url"]: page["error"] for page in result.data["pages"]}
    assert errors.pop(f"{site.url}/a") is None
    assert len(errors) == 5
    assert all(errors.values())
    assert "[egress]" in errors[secret.url]


async def test_robots_txt_is_honoured_unless_switched_off(directory: StepDirectory) -> None:
    robots = b"User-agent: *\nDisallow: /b\n\nUser-agent: manus-flows\nDisallow: /*c$\n"
    pages: Pages = {**SITE, "/robots.txt": Answer(robots, headers={"content-type": "text/plain"})}
    async with target(pages) as site:
        result = await crawl(directory, site, urls=[f"{site.url}/a"], max_depth=1)
        assert "/c" not in site.paths
        told = {page["url"]: page["error"] for page in result.data["pages"]}
        assert told[f"{site.url}/c"] == "robots.txt does not allow it"
        assert told[f"{site.url}/b"] is None
        off = {"respect_robots": False}
        await crawl(directory, site, crawl=off, urls=[f"{site.url}/c"])
        assert "/c" in site.paths
    async with target({**SITE, "/robots.txt": Answer(b"", 503)}) as site:
        refused = await crawl(directory, site, urls=[f"{site.url}/a"])
        assert (refused.is_error, site.paths) == (True, ["/robots.txt"])


async def test_a_redirect_to_what_robots_txt_forbids_is_not_told(directory: StepDirectory) -> None:
    pages: Pages = {
        "/robots.txt": Answer(b"User-agent: *\nDisallow: /private"),
        "/a": Answer(b"", 302, {"location": "/private"}),
        "/private": html("Private"),
    }
    async with target(pages) as site:
        result = await crawl(directory, site, urls=[f"{site.url}/a"])
    assert "Private" not in result.text
    assert "robots.txt" in result.data["pages"][0]["error"]


async def test_long_pages_become_files(directory: StepDirectory) -> None:
    async with target({"/long": html("Long", text="Many words here. " * 2000)}) as site:
        result = await crawl(directory, site, urls=[f"{site.url}/long"])
    (page,) = result.data["pages"]
    assert len(page["markdown"]) == 4000
    written = (directory.path / page["file"]).read_text(encoding="utf-8")
    assert written.count("Many words here.") == 2000
    assert written.startswith(f"<!-- {site.url}/long -->")
    assert page["file"] in result.output
    assert len(result.output) < 5000


async def test_what_is_no_text_is_refused_with_a_word_on_what_it_is(
    directory: StepDirectory,
) -> None:
    pages: Pages = {
        "/pdf": Answer(b"%PDF-1.7 ...", headers={"content-type": "text/html"}),
        "/png": Answer(b"\x89PNG\r\n", headers={"content-type": "image/png"}),
        "/gone": Answer(b"", 410),
        "/json": Answer(b'{"a": 1}', headers={"content-type": "application/json"}),
    }
    async with target(pages) as site:
        urls = [site.url + path for path in pages]
        result = await crawl(directory, site, urls=urls)
    pdf, png, gone, data = result.data["pages"]
    assert "a PDF" in pdf["error"]
    assert "image/png" in png["error"]
    assert gone["error"] == "the server answered 410"
    assert (data["error"], data["markdown"]) == (None, '{"a": 1}')
    assert not result.is_error
    assert "1 of 4 pages read." in result.output


async def test_when_time_is_up_what_was_read_is_the_answer(directory: StepDirectory) -> None:
    async with target({"/a": html("A", "/b"), "/b": html("B")}) as site:
        result = await crawl(
            directory,
            site,
            crawl={"delay_seconds": 60},
            urls=[f"{site.url}/a"],
            max_depth=1,
            timeout_seconds=3,
        )
    assert paths(result) == ["a"]
    assert "The 3 s were up" in result.output
    assert "/b" not in site.paths
