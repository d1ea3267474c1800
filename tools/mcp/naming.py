"""What a server's tool is called here."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

PREFIX = "mcp_"
MAX_NAME = 64
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs"})
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]+")


def server_prefix(server: str) -> str:
    """What the names of a server's tools begin with."""
    return f"{PREFIX}{_FOREIGN.sub('_', server)}_"


def visible(text: str) -> str:
    """What a person who reads it sees: no control characters, and none without a shape.

    A model reads those as well, and a terminal obeys some of them.
    """
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _UNSEEN)


def tool_names(offered: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """``mcp_<server>_<tool>`` for each (server, tool), in 64 characters of ``a-zA-Z0-9_-``.

    Names that are too long, or that two tools would share, end in a hash of what they stand for:
    it does not hang on the order in which servers answer.
    """
    pairs = set(offered)
    plain = {pair: server_prefix(pair[0]) + _FOREIGN.sub("_", pair[1]) for pair in pairs}
    shared = Counter(plain.values())
    return {
        pair: _hashed(name, pair) if len(name) > MAX_NAME or shared[name] > 1 else name
        for pair, name in plain.items()
    }


def _hashed(name: str, pair: tuple[str, str]) -> str:
    digest = hashlib.sha256("\0".join(pair).encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9]}_{digest}"
