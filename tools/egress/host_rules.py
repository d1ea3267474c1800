"""Entries of ``allow_hosts`` and ``deny_hosts``."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from ipaddress import ip_address

from core.errors import ConfigError
from tools.egress.addresses import IPAddress, unwrapped


@dataclass(frozen=True, slots=True)
class HostRule:
    """A name, ``*.domain`` or address; ``port`` None is any that is allowed anyway."""

    name: str
    address: IPAddress | None
    port: int | None

    def matches_name(self, host: str, port: int) -> bool:
        if self.address is not None or self.port not in (None, port):
            return False
        if self.name.startswith("*."):
            return host.endswith(self.name[1:])
        return host == self.name

    def matches_address(self, address: IPAddress, port: int) -> bool:
        same = self.address is not None and self.address == unwrapped(address)
        return same and self.port in (None, port)


def parse_rule(entry: str) -> HostRule:
    """Raises ConfigError for an entry that is neither a name nor an address."""
    host, port = _split(entry.strip())
    address = literal_address(host)
    if address is None and not _is_name(host.removeprefix("*.")):
        raise ConfigError(f"egress: '{entry}' is no host, *.domain, address, or host:port")
    return HostRule(normal_name(host), unwrapped(address) if address else None, port)


def literal_address(host: str) -> IPAddress | None:
    with contextlib.suppress(ValueError):
        return ip_address(host.strip("[]"))
    return None


def normal_name(host: str) -> str:
    """Lower case, ASCII, no final dot."""
    plain = host.strip("[]").rstrip(".")
    with contextlib.suppress(UnicodeError):
        plain = plain.encode("idna").decode() if not plain.isascii() else plain
    return plain.lower()


def _split(entry: str) -> tuple[str, int | None]:
    if literal_address(entry) is not None:
        return entry, None
    host, colon, port = entry.rpartition(":")
    if not colon:
        return entry, None
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"egress: '{entry}': '{port}' is no port")
    return host, int(port)


def _is_name(host: str) -> bool:
    plain = normal_name(host)
    return bool(plain) and all(c.isalnum() or c in "-._" for c in plain)
