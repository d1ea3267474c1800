import pytest

from tools.crawl.robots_txt import FORBIDDEN, RobotsTxt, parse_robots

TEXT = """
User-agent: other
Disallow: /

user-agent: *
User-Agent: someone
Disallow: /private   # not for all
Allow: /private/open
Disallow: /*.pdf$
Disallow: /caf%C3%A9
Disallow:
Crawl-delay: 2.5
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/private", False),
        ("/private/x", False),
        ("/private/open/x", True),
        ("/x.pdf", False),
        ("/x.pdf?y", True),
        ("/x.pdfs", True),
        ("/café", False),
        ("", True),
    ],
)
def test_the_longest_rule_wins(path: str, allowed: bool) -> None:
    assert parse_robots(TEXT, "manus-flows").allows(f"https://a.test{path}") is allowed


def test_a_group_of_ones_own_goes_before_that_of_all() -> None:
    robots = parse_robots(TEXT + "\nUser-agent: manus-flows\nDisallow: /own\n", "manus-flows")
    assert robots.allows("https://a.test/private")
    assert not robots.allows("https://a.test/own")


def test_delays_are_read_and_nonsense_is_not() -> None:
    assert parse_robots(TEXT, "x").delay_seconds == 2.5
    nonsense = "User-agent: *\nCrawl-delay: soon\nno colon\n\0\nDisallow"
    assert parse_robots(nonsense, "x") == RobotsTxt()


def test_nothing_asked_is_everything_allowed_and_a_site_in_trouble_is_left_alone() -> None:
    assert parse_robots("", "x").allows("https://a.test/x")
    assert not FORBIDDEN.allows("https://a.test/x")


def test_many_stars_take_no_time() -> None:
    robots = parse_robots("User-agent: *\nDisallow: /" + "*a" * 5000 + "b$", "x")
    assert robots.allows("https://a.test/" + "a" * 20_000)
