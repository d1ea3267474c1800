import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from core.errors import ConfigError
from core.provider_settings import Credentials
from core.settings import Settings
from core.tool_settings import EgressSettings
from tests.fakes.http_wire import HttpRequest
from tests.tools.egress.wire import Answer, Pages, Target, target
from tests.tools.web_search import synthetic_pages as pages
from tools.base import ToolContext, ToolResult
from tools.invoke import invoke
from tools.web_search.engines import configured_engines
from tools.web_search.tool import WebSearch
from tools.workspace import StepDirectory

PATHS = {"google": "/search", "bing": "/search", "baidu": "/s", "duckduckgo": "/html/"}


@asynccontextmanager
async def engines(**answers: Any) -> AsyncGenerator[dict[str, Target]]:
    """A server for each engine, which gives the answer at its path."""
    async with AsyncExitStack() as stack:
        servers: dict[str, Target] = {}
        for name, answer in answers.items():
            served: Pages = {PATHS.get(name, "/search"): answer}
            servers[name] = await stack.enter_async_context(target(served))
        yield servers


def page(html: str, status: int = 200) -> Answer:
    return Answer(html.encode(), status, {"content-type": "text/html; charset=utf-8"})


def configured(servers: Mapping[str, Target], **search: Any) -> Settings:
    addresses = {
        name: {"base_url": server.url + ("" if name == "searxng" else PATHS.get(name, "/search"))}
        for name, server in servers.items()
    }
    order = list(servers)
    chosen = {"engine": order[0], "fallback_engines": order[1:], "retry_delay": 0, **search}
    chosen["engines"] = {
        name: {**address, **search.get("engines", {}).get(name, {})}
        for name, address in addresses.items()
    }
    allow = [server.place for server in servers.values()]
    return Settings.model_validate(
        {"search": chosen, "egress": {"allow_hosts": allow}, "credentials": no_keys()}
    )


def no_keys(**given: str) -> Credentials:
    nothing = dict.fromkeys(Credentials.model_fields)
    return Credentials.model_validate({**nothing, **given})


async def search(settings: Settings, directory: StepDirectory, **arguments: Any) -> ToolResult:
    tool = WebSearch(settings).bind(ToolContext(directory))
    return await invoke(tool, {"query": "durable agents", **arguments})


def asked(request: HttpRequest) -> dict[str, str]:
    given = parse_qs(urlsplit(request.path).query or request.body.decode())
    return {name: values[0] for name, values in given.items()}


async def test_results_have_position_source_and_what_was_asked_for(
    directory: StepDirectory,
) -> None:
    async with engines(google=page(pages.GOOGLE)) as servers:
        result = await search(configured(servers), directory, num_results=1)
    assert result.data["results"] == [
        {
            "position": 1,
            "url": "https://example.org/a",
            "title": "First hit",
            "description": "About the first.",
            "source": "google",
            "raw_content": None,
            "content_error": None,
        }
    ]
    assert result.data["metadata"] == {
        "total_results": 1,
        "language": "en",
        "country": "us",
        "engine": "google",
        "failed_engines": [],
    }
    assert "1. First hit\n   https://example.org/a" in result.output


async def test_language_and_country_reach_every_engine(directory: StepDirectory) -> None:
    expected = {
        "google": {"hl": "de", "gl": "at"},
        "bing": {"setlang": "de", "cc": "AT", "mkt": "de-AT"},
        "baidu": {},
        "duckduckgo": {"kl": "at-de"},
        "searxng": {"language": "de-AT"},
        "brave": {"search_lang": "de", "country": "AT"},
        "google_cse": {"hl": "de", "gl": "at"},
    }
    keys = {"engines": {n: {"api_key": "k", "engine_id": "cx"} for n in ("brave", "google_cse")}}
    for name, parameters in expected.items():
        async with engines(**{name: page("", 404)}) as servers:
            settings = configured(servers, **keys)
            await search(settings, directory, lang="de", country="AT")
        (hit,) = servers[name].hits
        assert parameters.items() <= asked(hit).items()
        if name in PATHS:
            assert hit.headers["accept-language"] == "de-AT,de;q=0.9"
        assert "durable agents" in asked(hit).values()


@pytest.mark.parametrize("name", ["serper", "tavily", "exa"])
async def test_engines_asked_in_json_get_key_country_and_count(
    directory: StepDirectory, name: str
) -> None:
    hit = {"url": "https://a.test/", "link": "https://a.test/", "title": "Hit"}
    answer = page(json.dumps({"results": [hit], "organic": [hit]}))
    async with engines(**{name: answer}) as servers:
        settings = configured(servers, engines={name: {"api_key": "secret"}})
        result = await search(settings, directory, country="gb", num_results=3)
    (request,) = servers[name].hits
    body = json.loads(request.body)
    assert body.get("gl", body.get("country", body.get("userLocation"))).lower() in (
        "gb",
        "united kingdom",
    )
    assert 3 in body.values()
    assert "secret" in " ".join(request.headers.values())
    assert result.data["metadata"]["engine"] == name


async def test_blocked_empty_and_failing_engines_are_named_and_passed_over(
    directory: StepDirectory,
) -> None:
    async with engines(
        google=page(pages.GOOGLE_CAPTCHA, 429),
        baidu=page(pages.BAIDU_CAPTCHA),
        duckduckgo=page(pages.DUCKDUCKGO_CAPTCHA, 202),
        searxng=page("<html>no JSON</html>"),
        bing=page(pages.BING),
    ) as servers:
        result = await search(configured(servers, max_retries=2), directory)
    failed = {one["engine"]: one for one in result.data["metadata"]["failed_engines"]}
    assert result.data["metadata"]["engine"] == "bing"
    assert [one["source"] for one in result.data["results"]] == ["bing", "bing"]
    for name in ("google", "baidu", "duckduckgo"):
        assert (failed[name]["reason"], failed[name]["attempts"]) == ("asks for a CAPTCHA", 1)
    assert failed["searxng"]["reason"] == "the answer is not its API's"
    assert "google: asks for a CAPTCHA" in result.output
    assert {name: len(server.hits) for name, server in servers.items()} == dict.fromkeys(servers, 1)


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        (pages.GOOGLE_CONSENT, "shows a consent page"),
        (pages.GOOGLE_SCRIPT, "blocked: shows no results to programs"),
        ("<html></html>", "found nothing, or its page has changed"),
    ],
)
async def test_when_no_engine_has_results_the_error_says_why(
    directory: StepDirectory, html: str, reason: str
) -> None:
    async with engines(google=page(html)) as servers:
        result = await search(configured(servers), directory)
    assert result.error == f"no engine had results: google: {reason}"


async def test_a_passing_failure_is_tried_again_within_bounds(directory: StepDirectory) -> None:
    answers = [page("", 503), page("", 500), page(pages.BING)]
    async with engines(bing=lambda _: answers.pop(0)) as servers:  # pyright: ignore[reportUnknownLambdaType]
        result = await search(configured(servers, max_retries=2), directory)
    assert (result.data["metadata"]["engine"], len(servers["bing"].hits)) == ("bing", 3)
    async with engines(google=page("", 503), bing=page(pages.BING)) as servers:
        result = await search(configured(servers, max_retries=1), directory)
    (failed,) = result.data["metadata"]["failed_engines"]
    assert failed == {"engine": "google", "reason": "answered 503", "attempts": 2}


async def test_an_engine_that_cannot_be_reached_is_passed_over(directory: StepDirectory) -> None:
    async with engines(google=page("")) as gone:
        pass
    async with engines(bing=page(pages.BING)) as servers:
        result = await search(configured({**gone, **servers}, max_retries=0), directory)
    assert result.data["metadata"]["engine"] == "bing"
    assert "could not be fetched" in result.data["metadata"]["failed_engines"][0]["reason"]


async def test_the_egress_settings_hold_for_engines_too(directory: StepDirectory) -> None:
    async with engines(google=page(pages.GOOGLE)) as servers:
        settings = configured(servers)
        closed = settings.model_copy(update={"egress": Settings().egress})
        result = await search(closed, directory)
        assert "[egress]" in (result.error or "")
    assert servers["google"].hits == []


async def test_pages_are_fetched_through_the_guard_and_failures_told(
    directory: StepDirectory,
) -> None:
    article = b"<html><body><article><p>" + b"Words of an article. " * 700 + b"</p></article>"
    async with target({"/ok": Answer(article), "/gone": Answer(b"", 404)}) as site:
        async with target() as secret:
            urls = [f"{site.url}/ok", f"{site.url}/gone", f"{secret.url}/"]
            hits = {"results": [{"url": url, "title": "t"} for url in urls]}
            async with engines(searxng=page(json.dumps(hits))) as servers:
                settings = configured({**servers})
                allow = (*settings.egress.allow_hosts, site.place)
                egress = settings.egress.model_copy(update={"allow_hosts": allow})
                chosen = settings.model_copy(update={"egress": egress})
                result = await search(chosen, directory, fetch_content=True)
        assert secret.hits == []
    ok, gone, refused = result.data["results"]
    assert len(ok["raw_content"]) == 10_000
    assert gone["content_error"] == "answered 404"
    assert "[egress]" in refused["content_error"]
    assert len(result.output) < 3000


def test_engines_with_a_key_come_first_and_names_are_read_in_any_case() -> None:
    settings = Settings.model_validate(
        {
            "search": {
                "engine": "Google",
                "fallback_engines": ["DuckDuckGo", "Google"],
                "engines": {"SearXNG": {"base_url": "http://127.0.0.1:8888"}},
            }
        }
    ).search
    keys = no_keys(brave_api_key="b", exa_api_key="e", tavily_api_key="", google_api_key="no id")
    names = [engine.name for engine in configured_engines(settings, keys)]
    assert names == ["brave", "exa", "searxng", "google", "duckduckgo"]
    named = settings.model_copy(update={"engine": "exa"})
    assert configured_engines(named, keys)[0].name == "exa"


def test_an_engine_without_its_key_is_an_error_of_the_configuration() -> None:
    for name, said in (("tavily", "TAVILY_API_KEY"), ("searxng", "base_url")):
        settings = Settings.model_validate({"search": {"engine": name}}).search
        with pytest.raises(ConfigError, match=said):
            configured_engines(settings, no_keys())


@pytest.mark.parametrize("name", ["serper", "tavily", "exa", "brave"])
async def test_an_engine_that_redirects_does_not_pass_its_key_on(
    directory: StepDirectory, name: str
) -> None:
    async with target() as elsewhere:
        away = Answer(b"", 307, {"location": elsewhere.url})
        async with engines(**{name: away}) as servers:
            settings = configured(servers, engines={name: {"api_key": "secret"}})
            both = (*settings.egress.allow_hosts, elsewhere.place)
            egress = EgressSettings(allow_hosts=both)
            await search(settings.model_copy(update={"egress": egress}), directory)
    assert elsewhere.hits == []
