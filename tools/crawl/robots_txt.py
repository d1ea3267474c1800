"""robots.txt as RFC 9309 has it: the most specific group, the longest match, wildcards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

MAX_ROBOTS_BYTES = 500_000
_MAX_RULES = 2000


@dataclass(slots=True)
class _Group:
    agents: list[str] = field(default_factory=list[str])
    rules: list[tuple[bool, str]] = field(default_factory=list[tuple[bool, str]])
    delay_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RobotsTxt:
    """What one site asks of one crawler. ``delay_seconds`` is its Crawl-delay."""

    rules: tuple[tuple[bool, str], ...] = ()
    delay_seconds: float | None = None

    def allows(self, url: str) -> bool:
        parts = urlsplit(url)
        path = _normal(parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        best, allowed = -1, True
        for allow, pattern in self.rules:
            longer = len(pattern) > best or (len(pattern) == best and allow)
            if longer and _matches(pattern, path):
                best, allowed = len(pattern), allow
        return allowed


FORBIDDEN = RobotsTxt(rules=((False, "/"),))
"""For a site whose robots.txt cannot be read: a server in trouble is left alone."""


def parse_robots(text: str, agent: str) -> RobotsTxt:
    """The rules for ``agent`` (a product token such as ``manus-flows``), or those for all."""
    groups = list(_groups(text))
    for wanted in (agent.lower(), "*"):
        chosen = [group for group in groups if wanted in group.agents]
        if chosen:
            return _merged(chosen)
    return RobotsTxt()


def _merged(groups: Iterable[_Group]) -> RobotsTxt:
    rules = [rule for group in groups for rule in group.rules]
    delays = [group.delay_seconds for group in groups if group.delay_seconds is not None]
    return RobotsTxt(tuple(rules[:_MAX_RULES]), max(delays, default=None))


def _groups(text: str) -> Iterator[_Group]:
    group = _Group()
    takes_agents = True
    for key, value in _lines(text):
        if key == "user-agent":
            if not takes_agents:
                yield group
                group, takes_agents = _Group(), True
            group.agents.append(value.lower())
        elif key in ("allow", "disallow", "crawl-delay"):
            takes_agents = False
            _add(group, key, value)
    yield group


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.removeprefix("\ufeff").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _add(group: _Group, key: str, value: str) -> None:
    if key == "crawl-delay":
        if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
            group.delay_seconds = float(value)
    elif value:
        group.rules.append((key == "allow", _normal(value)))


def _matches(pattern: str, path: str) -> bool:
    """Without a regular expression: many stars in one would take for ever."""
    anchored = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    for number, part in enumerate(others, start=1):
        if anchored and number == len(others):
            return path.endswith(part) and len(path) - len(part) >= place
        found = path.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return not anchored or place == len(path)


def _normal(path: str) -> str:
    """One spelling of what can be written in two, such as ``%7E`` and ``~``."""
    return quote(unquote(path), safe="/*$?=&~:@!'(),;+-._%")
