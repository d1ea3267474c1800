"""Bodies of answers, decompressed and decoded within bounds."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import AsyncIterator

from core.errors import ToolFailedError

_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([a-zA-Z0-9_.:-]+)", re.IGNORECASE)
_PARAMETER = re.compile(r"charset\s*=\s*[\"']?([^\s;\"']+)", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# As browsers read them: the label names less than pages use.
_WIDER = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape"})
_SNIFFED_BYTES = 4096
_GUESSED_BYTES = 65_536


class BoundedDecoder:
    """Undoes Content-Encoding, and never holds more than it was allowed to."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower() or "identity"
        if self._encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise ToolFailedError(f"the answer is in an encoding nobody asked for: {encoding}")
        self._inflate = None

    def decode(self, data: bytes, limit: int) -> bytes:
        """At most ``limit`` bytes; what does not fit is lost. Raises ToolFailedError."""
        if self._encoding == "identity":
            return data[:limit]
        if self._inflate is None:
            self._inflate = zlib.decompressobj(_window_bits(self._encoding, data))
        try:
            return self._inflate.decompress(data, limit) if limit else b""
        except zlib.error as error:
            raise ToolFailedError(f"the answer is damaged: {error}", retryable=True) from error


def _window_bits(encoding: str, start: bytes) -> int:
    """gzip; zlib; or the bare deflate that some servers send by that name."""
    if encoding != "deflate":
        return 16 + zlib.MAX_WBITS
    has_header = start[:1] == b"\x78"
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


async def read_body(
    chunks: AsyncIterator[bytes], encoding: str, max_bytes: int
) -> tuple[bytes, bool]:
    """The body, decompressed, and whether it was cut at ``max_bytes``."""
    decoder = BoundedDecoder(encoding)
    body = bytearray()
    async for chunk in chunks:
        # One more than allowed, to tell a body that just fits from one that does not.
        body += decoder.decode(chunk, max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            return bytes(body[:max_bytes]), True
    return bytes(body), False


def decode_text(body: bytes, content_type: str) -> str:
    """Text by its byte order mark, the header, the page's own word, or what it looks like."""
    named = _PARAMETER.search(content_type)
    sniffed = _META.search(body[:_SNIFFED_BYTES])
    candidates = (
        next((name for mark, name in _BOMS if body.startswith(mark)), None),
        named[1] if named else None,
        sniffed[1].decode("ascii") if sniffed else None,
    )
    for name in candidates:
        if name and (codec := _codec(name)):
            return body.decode(codec, "replace")
    return _guess(body)


def _codec(label: str) -> str | None:
    try:
        b" ".decode(label, "replace")  # of nothing, the codec would not even be asked
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    return None if name in _NO_CHARSETS else _WIDER.get(name, name)


def _guess(body: bytes) -> str:
    # A body that was cut may end within a character.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(body[:_GUESSED_BYTES]).best()
        return body.decode(best.encoding if best else "cp1252", "replace")
