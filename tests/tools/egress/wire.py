"""A server that counts who reaches it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes.http_wire import Connection, HttpRequest, serve_connections


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes = b"hello"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Pages = Mapping[str, Answer | Callable[[HttpRequest], Answer]]


@dataclass(slots=True)
class Target:
    """``hits`` are the requests that came through."""

    pages: Pages
    port: int = 0
    hits: list[HttpRequest] = field(default_factory=list[HttpRequest])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def place(self) -> str:
        """As an entry of ``allow_hosts``."""
        return f"127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [hit.path for hit in self.hits]

    async def serve(self, request: HttpRequest, connection: Connection) -> None:
        self.hits.append(request)
        page = self.pages.get(request.path.partition("?")[0], Answer(b"no such page", 404))
        answer = page(request) if callable(page) else page
        headers = {"content-type": "text/html", **answer.headers}
        connection.write_whole(answer.status, headers, answer.body)


@asynccontextmanager
async def target(pages: Pages | None = None) -> AsyncGenerator[Target]:
    """Listens on 127.0.0.1; an unknown path is a 404, and ``/`` says hello."""
    served = Target({"/": Answer(), **(pages or {})})
    async with serve_connections(served.serve) as port:
        served.port = port
        yield served
