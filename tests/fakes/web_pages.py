"""Web pages on loopback, and a port that counts who comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class WebPages:
    """Serves what it is given, by path, from a thread of its own."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self.asked: list[str] = []
        self.posted: list[bytes] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="web-pages")

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def serve(self, path: str, body: str | bytes, **headers: str) -> str:
        """The address of a page; ``content_type`` and the like are headers."""
        data = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._pages[path] = Page(
            data, headers={"content-type": "text/html; charset=utf-8", **named}
        )
        return f"http://{self.host}{path}"

    def redirect(self, path: str, target: str) -> str:
        self._pages[path] = Page(b"", 302, {"location": target})
        return f"http://{self.host}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages.asked.append(self.path)
                found = pages._pages.get(urlsplit(self.path).path, Page(b"not here", 404))
                self.send_response(found.status)
                for name, value in found.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(found.body)))
                self.end_headers()
                self.wfile.write(found.body)

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                pages.posted.append(self.rfile.read(length))
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:
                return

        return Handler


class ForbiddenPort:
    """Listens on loopback and counts connections, whatever is said on them."""

    def __init__(self) -> None:
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="forbidden-port")

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            self.connections += 1
            connection.close()
