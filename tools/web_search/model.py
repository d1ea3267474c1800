"""A query, and what came of it. The fields of results are those of OpenManus."""

from __future__ import annotations

from dataclasses import dataclass

from core.base import Value


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """``lang`` as in ``en`` or ``zh-cn``, ``country`` as in ``us``; both in lower case."""

    text: str
    count: int = 5
    lang: str = "en"
    country: str = "us"

    @property
    def language(self) -> str:
        return self.lang.partition("-")[0]

    @property
    def locale(self) -> str:
        """As in ``en-US``; the region that ``lang`` itself names goes before the country."""
        region = self.lang.partition("-")[2] or self.country
        return f"{self.language}-{region.upper() if len(region) == 2 else region.title()}"


@dataclass(frozen=True, slots=True)
class Found:
    """One hit as an engine gave it; ``url`` may still be wrapped."""

    url: str
    title: str
    description: str = ""


class SearchResult(Value):
    """``source`` is the engine. ``raw_content`` is there when it was asked for and could be had."""

    position: int
    url: str
    title: str
    description: str
    source: str
    raw_content: str | None = None
    content_error: str | None = None


class FailedEngine(Value):
    engine: str
    reason: str
    attempts: int = 1


class SearchMetadata(Value):
    total_results: int
    language: str
    country: str
    engine: str
    failed_engines: tuple[FailedEngine, ...] = ()


class SearchResponse(Value):
    query: str
    results: tuple[SearchResult, ...]
    metadata: SearchMetadata
