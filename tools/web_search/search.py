"""One engine after the other until one has hits; then, if asked for, what their pages say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from core.errors import AnswerToModelError, ToolFailedError
from core.tool_settings import SearchSettings
from tools.egress.fetch import fetch
from tools.web_page import page_to_markdown
from tools.web_search.engine import SearchEngine, SearchWire
from tools.web_search.model import (
    FailedEngine,
    Found,
    SearchMetadata,
    SearchQuery,
    SearchResponse,
    SearchResult,
)

MAX_CONTENT_CHARACTERS = 10_000
_MAX_CONTENT_BYTES = 2_000_000
_PAGES_AT_ONCE = 5
_FIRST_WAIT_SECONDS = 0.5


async def search_engines(
    query: SearchQuery,
    engines: Sequence[SearchEngine],
    wire: SearchWire,
    settings: SearchSettings,
) -> SearchResponse:
    """What the first engine with hits has found; says which failed before it, and why.

    Raises:
        ToolFailedError: none had any; names them all.
    """
    failed: list[FailedEngine] = []
    for engine in engines:
        attempts = _Attempts()
        try:
            hits = await _ask(engine, query, wire, settings, attempts)
        except AnswerToModelError as error:
            failed.append(
                FailedEngine(engine=engine.name, reason=str(error), attempts=attempts.count)
            )
            continue
        return _response(query, engine.name, hits, failed)
    raise ToolFailedError(f"no engine had results: {told(failed)}")


def told(failed: Iterable[FailedEngine]) -> str:
    return "; ".join(f"{one.engine}: {one.reason}" for one in failed)


@dataclass(slots=True)
class _Attempts:
    count: int = 0


async def _ask(
    engine: SearchEngine,
    query: SearchQuery,
    wire: SearchWire,
    settings: SearchSettings,
    attempts: _Attempts,
) -> list[Found]:
    retrying = AsyncRetrying(
        stop=stop_after_attempt(settings.max_retries + 1),
        wait=wait_random_exponential(_FIRST_WAIT_SECONDS, max=settings.retry_delay),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            attempts.count += 1
            return await engine.search(query, wire)
    raise AssertionError("tenacity ends by an answer or an error")


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, AnswerToModelError) and bool(error.details.get("retryable"))


def _response(
    query: SearchQuery, engine: str, hits: Sequence[Found], failed: Sequence[FailedEngine]
) -> SearchResponse:
    results = tuple(
        SearchResult(
            position=place,
            url=hit.url,
            title=hit.title,
            description=hit.description,
            source=engine,
        )
        for place, hit in enumerate(hits, start=1)
    )
    metadata = SearchMetadata(
        total_results=len(results),
        language=query.lang,
        country=query.country,
        engine=engine,
        failed_engines=tuple(failed),
    )
    return SearchResponse(query=query.text, results=results, metadata=metadata)


async def with_content(response: SearchResponse, wire: SearchWire) -> SearchResponse:
    """The response with each result's text, or why it could not be had."""
    bound = asyncio.Semaphore(_PAGES_AT_ONCE)

    async def read(result: SearchResult) -> SearchResult:
        async with bound:
            return await _read(result, wire)

    results = await asyncio.gather(*map(read, response.results))
    return response.model_copy(update={"results": tuple(results)})


async def _read(result: SearchResult, wire: SearchWire) -> SearchResult:
    try:
        page = await fetch(
            wire.client, result.url, _MAX_CONTENT_BYTES, timeout_seconds=wire.timeout_seconds
        )
        if page.status >= 400 or not page.is_text:
            kind = page.content_type or "binary"
            reason = f"answered {page.status}" if page.status >= 400 else f"is no text: {kind}"
            return result.model_copy(update={"content_error": reason})
        text = await page_to_markdown(page.text, page.url, timeout_seconds=wire.timeout_seconds)
    except AnswerToModelError as error:
        return result.model_copy(update={"content_error": str(error)})
    return result.model_copy(update={"raw_content": text.markdown[:MAX_CONTENT_CHARACTERS]})
