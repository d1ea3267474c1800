"""The ddgs library, which asks several engines of its own choice, behind the egress proxy."""

from __future__ import annotations

import asyncio
from typing import Any

from core.errors import ToolFailedError
from tools.egress.proxy import EgressProxy
from tools.web_search.engine import SearchWire
from tools.web_search.links import distinct
from tools.web_search.model import Found, SearchQuery

_PAGE_URL = "https://duckduckgo.com/"
# Its "auto" asks encyclopedias before anything else.
_BACKENDS = "duckduckgo,brave,yahoo,startpage,mojeek"


class DdgsEngine:
    """``backend`` is names of ddgs's own engines with commas between, or ``auto``."""

    name = "ddgs"

    def __init__(self, backend: str = _BACKENDS) -> None:
        self._backend = backend

    async def search(self, query: SearchQuery, wire: SearchWire) -> list[Found]:
        async with EgressProxy(wire.policy) as proxy:
            # A thread cannot be stopped, but without its proxy it gets nowhere any more.
            found = await asyncio.to_thread(self._ask, query, proxy.url, wire.timeout_seconds)
        hits = distinct(found, _PAGE_URL, query.count)
        if not hits:
            raise ToolFailedError("found nothing")
        return hits

    def _ask(self, query: SearchQuery, proxy: str, timeout_seconds: float) -> list[Found]:
        from ddgs import DDGS  # pyright: ignore[reportUnknownVariableType]
        from ddgs.exceptions import DDGSException

        try:
            library: Any = DDGS(proxy=proxy, timeout=max(1, round(timeout_seconds)))
            hits: list[dict[str, Any]] = library.text(
                query.text,
                region=f"{query.country}-{query.language}",
                max_results=query.count,
                backend=self._backend,
            )
        except DDGSException as error:
            raise ToolFailedError(f"failed: {str(error)[:200]}") from error
        return [Found(hit["href"], hit["title"], hit.get("body") or "") for hit in hits]
