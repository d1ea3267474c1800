"""What an image costs in tokens: by its size in pixels, each vendor by its own formula."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct

from core.message import ImagePart

UNKNOWN_SIZE_TOKENS = 1200
"""Of an image whose size cannot be read; about one megapixel."""

_HEAD_BYTES = 300_000
"""Where a JPEG's size must be found: previews and colour profiles may stand before it."""
_JPEG_NO_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
_JPEG_NOT_FRAMES = frozenset([0xC4, 0xC8, 0xCC])


def image_tokens(image: ImagePart, model: str) -> int:
    """By the formula of the model's vendor; Anthropic's where the vendor has published none."""
    size = image_size(image)
    if size is None:
        return UNKNOWN_SIZE_TOKENS
    width, height = size
    if re.search(r"gpt-|chatgpt-|(^|/)o\d", model):
        return _openai(width, height)
    if "gemini" in model:
        return _gemini(width, height, model)
    return _anthropic(width, height)


def image_size(image: ImagePart) -> tuple[int, int] | None:
    """Width and height in pixels from the file's head; ``None`` where it is not understood."""
    try:
        head = base64.b64decode(image.data[: _HEAD_BYTES // 3 * 4], validate=True)
    except (ValueError, binascii.Error):
        return None
    readers = {
        "image/png": _png_size,
        "image/jpeg": _jpeg_size,
        "image/gif": _gif_size,
        "image/webp": _webp_size,
    }
    try:
        size = readers[image.media_type](head)
    except (struct.error, IndexError):
        return None
    return size if size and min(size) > 0 else None


def _openai(width: int, height: int) -> int:
    """Within 2048 by 2048, then the short side at most 768: 170 for each tile of 512, and 85."""
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def _anthropic(width: int, height: int) -> int:
    """One per 750 pixels, scaled to at most 1568 on the long side and about 1600 tokens."""
    scale = min(1.0, 1568 / max(width, height))
    return min(1600, math.ceil(width * scale * height * scale / 750))


def _gemini(width: int, height: int, model: str) -> int:
    """258 per tile, a small image being one; from Gemini 3 on 1120 for an image of any size."""
    if re.search(r"gemini-([3-9]|\d\d)", model):
        return 1120
    if max(width, height) <= 384:
        return 258
    unit = max(1, math.floor(min(width, height) / 1.5))
    return 258 * math.ceil(width / unit) * math.ceil(height / unit)


def _png_size(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return struct.unpack_from(">II", head, 16)


def _gif_size(head: bytes) -> tuple[int, int] | None:
    if not head.startswith((b"GIF87a", b"GIF89a")):
        return None
    return struct.unpack_from("<HH", head, 6)


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """From the frame's head, which comes after segments that say their own length."""
    if not head.startswith(b"\xff\xd8"):
        return None
    at = 2
    while head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _JPEG_NO_LENGTH or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _JPEG_NOT_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return _int24(head, 24) + 1, _int24(head, 27) + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _int24(data: bytes, at: int) -> int:
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16
