import pytest

from tools.web_page import MAX_LINKS, page_to_markdown

URL = "https://a.test/dir/page"
ARTICLE = (
    "<html><head><title>A  title</title></head><body><nav>Menu</nav><article><h1>Head</h1>"
    "<p>Some <b>bold</b> text that is long enough to be the content of a page.</p>"
    f"<p>{'And more of it, as pages have. ' * 10}</p>"
    "<ul><li>one</li><li>two</li></ul></article></body></html>"
)


async def test_the_content_is_markdown_without_the_menu() -> None:
    page = await page_to_markdown(ARTICLE, URL)
    assert page.title == "A title"
    assert "# Head" in page.markdown
    assert "**bold**" in page.markdown
    assert "- two" in page.markdown
    assert "Menu" not in page.markdown


async def test_links_are_absolute_web_addresses_each_once() -> None:
    hrefs = ("x", "/y#part", "/y", "//b.test/z", "mailto:a@b.test", "javascript:0", "http://[")
    html = "".join(f'<a href="{href}">t</a>' for href in hrefs)
    links = (await page_to_markdown(html, URL)).links
    assert links == ("https://a.test/dir/x", "https://a.test/y", "https://b.test/z")
    many = "".join(f'<a href="/{number}">t</a>' for number in range(MAX_LINKS + 10))
    assert len((await page_to_markdown(many, URL)).links) == MAX_LINKS


async def test_large_pages_are_stripped_of_tags_in_lines() -> None:
    html = "<html><script>code()</script><body>" + "<p>A <b>bold</b> word.</p>" * 25_000
    page = await page_to_markdown(html, URL)
    assert len(html) > 500_000
    assert page.markdown.splitlines() == ["A bold word."] * 25_000


@pytest.mark.parametrize("start", ["<div>", "<b><i>", "<div></b>", "<div", "<svg><g>"])
async def test_pages_nested_without_end_are_read_at_all(start: str) -> None:
    page = await page_to_markdown("<p>before</p>" + start * 60_000 + ">after", URL)
    assert "before" in page.markdown


async def test_an_empty_page_is_empty() -> None:
    page = await page_to_markdown("", URL)
    assert (page.title, page.markdown, page.links, page.word_count) == ("", "", (), 0)


@pytest.mark.parametrize("part", ["<", "<script ", "<a <", "</script"])
async def test_no_page_takes_the_square_of_its_length(part: str) -> None:
    hostile = "<p>before</p>" + "<div>" * 2000 + part * 200_000
    page = await page_to_markdown(hostile, URL, timeout_seconds=60)
    assert page.markdown.startswith("before")


async def test_scripts_of_a_deep_page_are_not_its_text() -> None:
    deep = "<div>" * 2000 + "a &lt; b<SCRIPT>if (1<2) evil()</Script x>, 3 < 4<!-- c --> end"
    assert (await page_to_markdown(deep, URL)).markdown == "a < b , 3 < 4 end"


async def test_a_link_of_endless_length_is_no_link() -> None:
    links = (await page_to_markdown(f'<a href="/{"x" * 5000}">t</a><a href="/y">t</a>', URL)).links
    assert links == ("https://a.test/y",)
