"""Heads of HTTP/1.1 messages, as a proxy reads and rewrites them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/@\[\]]+)):(?P<port>\d{1,5})")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authorization"})
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    407: "Proxy Authentication Required",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers, whose names are as they came."""

    first: str
    headers: tuple[tuple[str, str], ...]

    @property
    def method(self) -> str:
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        return self.first.split(" ")[1]

    @property
    def is_interim(self) -> bool:
        status = self.first.split(" ")[1]
        return status.startswith("1") and status != "101"

    @property
    def is_upgrade(self) -> bool:
        return "upgrade" in (self.get("connection") or "").lower()

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def authority(self) -> tuple[str, int]:
        """Host and port of a CONNECT. Raises ValueError."""
        found = _AUTHORITY.fullmatch(self.target)
        if not found:
            raise ValueError("CONNECT needs host:port")
        return found["v6"] or found["host"], int(found["port"])

    def for_origin(self) -> bytes:
        """A request in absolute form, as the server itself gets it."""
        parts = urlsplit(self.target)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = "Upgrade" if self.is_upgrade else "close"
        return _joined(
            f"{self.method} {path} HTTP/1.1",
            [("Host", parts.netloc), *self._kept("host"), ("Connection", connection)],
        )

    def for_client(self) -> bytes:
        """An answer; one that ends the exchange closes the connection."""
        if self.is_interim or self.first.split(" ")[1] == "101":
            return _joined(self.first, list(self.headers))
        return _joined(self.first, [*self._kept(), ("Connection", "close")])

    def _kept(self, *but: str) -> list[tuple[str, str]]:
        return [(k, v) for k, v in self.headers if k.lower() not in _HOP_BY_HOP.union(but)]


def parse_head(raw: bytes) -> Head:
    """Raises ValueError for what is not HTTP/1.1 as it should be."""
    first, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(first.split(b" ", 2)) < 2 or b"\n" in raw.replace(b"\r\n", b"") or b"\0" in raw:
        raise ValueError("not an HTTP message")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            raise ValueError("a header line is malformed")
        headers.append((name.decode("ascii"), value.strip().decode("latin-1")))
    return Head(first.decode("latin-1"), tuple(headers))


def refusal(status: int, reason: str) -> bytes:
    body = f"Egress: {reason}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    if status == 407:
        headers.append(("Proxy-Authenticate", 'Basic realm="egress"'))
    return _joined(f"HTTP/1.1 {status} {_REASONS[status]}", headers) + body


def _joined(first: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
