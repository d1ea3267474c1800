"""Which IP addresses are of the public internet, however they are wrapped."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address

# IANA's special-purpose registries, and what `is_global` of one Python or another gets wrong.
_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3ffe::/16", "3fff::/20")
)
_ISATAP = (0x00005EFE, 0x02005EFE)
_LINK_LOCAL = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
_NOWHERE = (IPv4Network("0.0.0.0/8"), IPv4Network("224.0.0.0/3"), IPv6Network("ff00::/8"))
_METADATA_V6 = IPv6Address("fd00:ec2::254")


def unwrapped(address: IPAddress) -> IPAddress:
    """The IPv4 address inside an IPv6-mapped one: the two connect to the same place."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_public(address: IPAddress) -> bool:
    """Whether it, and what it would be translated or tunnelled to, is on the public internet."""
    address = unwrapped(address)
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _SPECIAL_V4)
    inner = embedded(address)
    if inner is not None and not is_public(inner):
        return False
    return not address.scope_id and (address in _NAT64 or _is_global_unicast(address))


def is_never_by_name(address: IPAddress) -> bool:
    """Whether a name alone never leads there: link-local (metadata), multicast, unspecified."""
    address = unwrapped(address)
    inner = embedded(address)
    if inner is not None and is_never_by_name(inner):
        return True
    networks = (*_LINK_LOCAL, *_NOWHERE)
    special = any(address in network for network in networks if network.version == address.version)
    return special or address.is_unspecified or address == _METADATA_V6


def _is_global_unicast(address: IPv6Address) -> bool:
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def embedded(address: IPAddress) -> IPv4Address | None:
    """The IPv4 address in a NAT64, 6to4 or ISATAP one; Teredo and ``::/96`` are not global."""
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    if address in _NAT64 or (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address((number >> 80) & 0xFFFFFFFF)
    return None
