"""Where tools may connect to: decided on resolved addresses, never on how a host is written."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from core.errors import EgressDeniedError, ToolFailedError
from core.tool_settings import EgressSettings
from tools.egress.addresses import IPAddress, embedded, is_never_by_name, is_public
from tools.egress.host_rules import HostRule, normal_name, parse_rule
from tools.egress.upstream import Upstream

Resolver = Callable[[str, int], Sequence[str]]
"""A host and a port to the addresses it has; raises OSError. Called in a thread."""

_MOST_TRIED = 10
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def system_addresses(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class EgressPolicy:
    """The rules of ``[egress]``.

    A connection must go to an address that ``resolve`` gave, or a second, different answer of the
    same name server would decide.
    """

    def __init__(
        self, settings: EgressSettings | None = None, *, resolver: Resolver = system_addresses
    ) -> None:
        self.settings = settings or EgressSettings()
        self._allow = [parse_rule(entry) for entry in self.settings.allow_hosts]
        self._deny = [parse_rule(entry) for entry in self.settings.deny_hosts]
        self._resolver = resolver
        proxy = self.settings.upstream_proxy
        self.upstream = Upstream.parse(proxy.get_secret_value()) if proxy else None

    async def check_url(self, url: str | httpx.URL) -> None:
        """Scheme, host, port and every address of the host.

        Raises:
            EgressDeniedError: not allowed; names the setting that would allow it.
            ToolFailedError: not a URL, or the host has no address.
        """
        host, port = self.check_form(url)
        await self.resolve(host, port)

    def check_form(self, url: str | httpx.URL) -> tuple[str, int]:
        """What can be said without resolving; gives host and port. Raises as ``check_url``."""
        try:
            parsed = httpx.URL(url)
            urlsplit(str(url))  # what only one of two parsers takes is nothing to be trusted
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise ToolFailedError(f"'{str(url)[:200]}' is not a URL: {error}") from error
        shown = _shown(parsed)
        if parsed.scheme not in DEFAULT_PORTS or not parsed.host:
            raise EgressDeniedError(f"{shown}: only http, https, ws and wss addresses of a host")
        if parsed.userinfo:
            raise EgressDeniedError(f"{shown}: user names in URLs are not allowed")
        port = parsed.port or DEFAULT_PORTS[parsed.scheme]
        if parsed.scheme in ("http", "ws"):
            self._check_plain(parsed.host, port)
        return parsed.host, port

    def check_tunnel(self, host: str, port: int) -> None:
        """Of a connection whose use is not seen: the port of plain HTTP counts as such."""
        if port == DEFAULT_PORTS["http"]:
            self._check_plain(host, port)

    def _check_plain(self, host: str, port: int) -> None:
        if self.settings.https_only and not self._is_listed(host, port):
            raise EgressDeniedError(f"{host}: plain HTTP, and [egress] https_only is set")

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses to connect to, after all were checked; asks the resolver once.

        Of very many only the first: each that does not answer costs the time of a connection.

        Raises:
            EgressDeniedError: the host, the port, or one of the addresses is not allowed.
            ToolFailedError: the host has no address.
        """
        name = normal_name(host)
        if any(rule.matches_name(name, port) for rule in self._deny):
            raise EgressDeniedError(f"{name}: is in [egress] deny_hosts")
        addresses = await self._addresses(host, port)
        for address in addresses:
            self._check(name, port, address)
        return tuple(str(address) for address in addresses[:_MOST_TRIED])

    async def _addresses(self, host: str, port: int) -> list[IPAddress]:
        bare = host.strip("[]")
        try:
            async with asyncio.timeout(self.settings.connect_timeout_seconds):
                found = await asyncio.to_thread(self._resolver, bare, port)
            addresses = [ip_address(text) for text in found]
        except (OSError, UnicodeError, ValueError) as error:
            # A TimeoutError is an OSError; a ValueError is a host that no resolver can be asked.
            raise ToolFailedError(f"{bare}: cannot be resolved: {error}", retryable=True) from error
        if not addresses:
            raise ToolFailedError(f"{bare}: has no address", retryable=True)
        return addresses

    def _check(self, name: str, port: int, address: IPAddress) -> None:
        place = f"{name} ({address})" if name != str(address) else name
        if self._is_denied(address, port):
            raise EgressDeniedError(f"{place}: is in [egress] deny_hosts")
        by_name = [rule for rule in self._allow if rule.matches_name(name, port)]
        rules = [*by_name, *_matches(self._allow, address, port)]
        if port not in self.settings.ports and not any(rule.port == port for rule in rules):
            raise EgressDeniedError(
                f"{place}: port {port} is not in [egress] ports; "
                f"allow_hosts = ['{name}:{port}'] would allow it"
            )
        by_address = len(rules) > len(by_name)
        if is_public(address) or by_address or (by_name and not is_never_by_name(address)):
            return
        raise EgressDeniedError(
            f"{place}: is not a public address; [egress] allow_hosts = ['{address}"
            f"{'' if address.version == 6 else f':{port}'}'] would allow it"
        )

    def _is_denied(self, address: IPAddress, port: int) -> bool:
        """Also as what it would be translated to: NAT64 and 6to4 lead to the IPv4 address."""
        inner = embedded(address)
        forms = (address, inner) if inner else (address,)
        return any(_matches(self._deny, form, port) for form in forms)

    def _is_listed(self, host: str, port: int) -> bool:
        """Whether it is allowed by name, or as the address it is written as."""
        name = normal_name(host)
        return any(
            rule.matches_name(name, port) or (rule.name == name and rule.port in (None, port))
            for rule in self._allow
        )


def _matches(rules: Iterable[HostRule], address: IPAddress, port: int) -> list[HostRule]:
    return [rule for rule in rules if rule.matches_address(address, port)]


def _shown(url: httpx.URL) -> str:
    """Without what may be a secret."""
    return f"{url.scheme}://{url.host}" if url.host else f"{url.scheme or 'no scheme'}:"
