"""Search engines with a JSON API: Brave, Tavily, Serper, Google Custom Search, Exa, SearXNG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.egress.fetch import Request
from tools.web_search.engine import ApiEngine
from tools.web_search.model import Found, SearchQuery

BRAVE_URL = "https://api.search.brave.com/res/v1/web/search"
TAVILY_URL = "https://api.tavily.com/search"
SERPER_URL = "https://google.serper.dev/search"
GOOGLE_CSE_URL = "https://www.googleapis.com/customsearch/v1"
EXA_URL = "https://api.exa.ai/search"

_BRAVE_LANGUAGES = {"zh": "zh-hans", "ja": "jp", "pt": "pt-br"}
# Tavily takes names where all others take codes; a country not here is left out.
_TAVILY_COUNTRIES = {
    "ar": "argentina",
    "at": "austria",
    "au": "australia",
    "be": "belgium",
    "br": "brazil",
    "ca": "canada",
    "ch": "switzerland",
    "cn": "china",
    "de": "germany",
    "dk": "denmark",
    "es": "spain",
    "fi": "finland",
    "fr": "france",
    "gb": "united kingdom",
    "ie": "ireland",
    "in": "india",
    "it": "italy",
    "jp": "japan",
    "kr": "south korea",
    "mx": "mexico",
    "nl": "netherlands",
    "no": "norway",
    "nz": "new zealand",
    "pl": "poland",
    "pt": "portugal",
    "se": "sweden",
    "sg": "singapore",
    "tr": "turkey",
    "tw": "taiwan",
    "us": "united states",
    "za": "south africa",
}


def brave(key: str, base_url: str | None = None) -> ApiEngine:
    def request(query: SearchQuery) -> Request:
        params = {
            "q": query.text,
            "count": str(min(query.count, 20)),
            "country": query.country.upper(),
            "search_lang": _BRAVE_LANGUAGES.get(query.language, query.language),
        }
        headers = {"X-Subscription-Token": key, "Accept": "application/json"}
        return Request(base_url or BRAVE_URL, params=params, headers=headers)

    def parse(answer: Any) -> Iterator[Found]:
        web: Any = answer.get("web") or {}
        for hit in web.get("results", ()):
            yield Found(hit["url"], hit["title"], without_tags(hit.get("description")))

    return ApiEngine("brave", request, parse)


def tavily(key: str, base_url: str | None = None) -> ApiEngine:
    def request(query: SearchQuery) -> Request:
        body: dict[str, Any] = {"query": query.text, "max_results": min(query.count, 20)}
        if country := _TAVILY_COUNTRIES.get(query.country):
            body["country"] = country
        headers = {"Authorization": f"Bearer {key}"}
        return Request(base_url or TAVILY_URL, "POST", headers=headers, json=body)

    def parse(answer: Any) -> Iterator[Found]:
        for hit in answer["results"]:
            yield Found(hit["url"], hit["title"], hit.get("content") or "")

    return ApiEngine("tavily", request, parse)


def serper(key: str, base_url: str | None = None) -> ApiEngine:
    def request(query: SearchQuery) -> Request:
        body = {"q": query.text, "num": query.count, "gl": query.country, "hl": query.lang}
        return Request(base_url or SERPER_URL, "POST", headers={"X-API-KEY": key}, json=body)

    def parse(answer: Any) -> Iterator[Found]:
        for hit in answer.get("organic", ()):
            yield Found(hit["link"], hit["title"], hit.get("snippet") or "")

    return ApiEngine("serper", request, parse)


def google_cse(key: str, engine_id: str, base_url: str | None = None) -> ApiEngine:
    def request(query: SearchQuery) -> Request:
        params = {
            "key": key,
            "cx": engine_id,
            "q": query.text,
            "num": str(min(query.count, 10)),
            "gl": query.country,
            "hl": query.lang,
        }
        return Request(base_url or GOOGLE_CSE_URL, params=params)

    def parse(answer: Any) -> Iterator[Found]:
        for hit in answer.get("items", ()):
            yield Found(hit["link"], hit["title"], hit.get("snippet") or "")

    return ApiEngine("google_cse", request, parse)


def exa(key: str, base_url: str | None = None) -> ApiEngine:
    """Exa reads the language from the query itself."""

    def request(query: SearchQuery) -> Request:
        body = {
            "query": query.text,
            "numResults": query.count,
            "userLocation": query.country.upper(),
            "contents": {"text": {"maxCharacters": 500}},
        }
        return Request(base_url or EXA_URL, "POST", headers={"x-api-key": key}, json=body)

    def parse(answer: Any) -> Iterator[Found]:
        for hit in answer["results"]:
            yield Found(hit["url"], hit.get("title") or hit["url"], hit.get("text") or "")

    return ApiEngine("exa", request, parse)


def searxng(base_url: str) -> ApiEngine:
    """Its ``search.formats`` must have ``json``, which is off as delivered."""

    def request(query: SearchQuery) -> Request:
        params = {"q": query.text, "format": "json", "language": query.locale}
        return Request(f"{base_url.rstrip('/')}/search", params=params)

    def parse(answer: Any) -> Iterator[Found]:
        for hit in answer["results"]:
            yield Found(hit["url"], hit["title"], hit.get("content") or "")

    return ApiEngine("searxng", request, parse)


def without_tags(text: str | None) -> str:
    """Brave marks the words it found with ``<strong>``."""
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(text or "").body
    return body.text() if body else ""
