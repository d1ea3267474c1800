"""A proxy that everything has to go through, as in many companies."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Upstream:
    """An HTTP proxy; asked to CONNECT to an address, so that it resolves nothing anew."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """Raises ConfigError for anything but ``http://[user[:password]@]host[:port]``."""
        parts = urlsplit(url)
        try:
            port = parts.port or 80
        except ValueError as error:
            raise ConfigError("[egress] upstream_proxy: the port is not one") from error
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigError("[egress] upstream_proxy: must be http://[user:password@]host:port")
        login = None
        if parts.username is not None:
            login = basic(unquote(parts.username), unquote(parts.password or ""))
        return cls(parts.hostname, port, login)

    def request(self, address: str, port: int) -> bytes:
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.authorization:
            lines.append(f"Proxy-Authorization: {self.authorization}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def connect_status(head: bytes) -> int:
    """The status of an answer to CONNECT; 0 when it is no HTTP."""
    parts = head.split(b"\r\n", 1)[0].split(b" ")
    is_http = len(parts) > 1 and parts[0].startswith(b"HTTP/1.") and parts[1].isdigit()
    return int(parts[1]) if is_http else 0
