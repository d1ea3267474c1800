"""Brings an image to a size a model takes. Runs in the sandbox: it reads strangers' bytes."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 1568
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")


def main(argument: dict[str, Any]) -> dict[str, Any]:
    """``content`` is base64. An ``error`` where it is no image, or too large a one to unpack."""
    try:
        return scaled(base64.b64decode(argument["content"]), argument["max_bytes"])
    except (OSError, ValueError, SyntaxError) as error:
        return {"error": str(error)}


def scaled(content: bytes, max_bytes: int) -> dict[str, Any]:
    """The image with its longer side at most ``MAX_SIDE`` and at most ``max_bytes`` long.

    One that is small enough stays as it is. Of an animation the first frame is taken.

    Raises:
        ValueError: more than ``MAX_PIXELS`` pixels, told before any is unpacked.
        OSError: no image, or a damaged one.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the check below is exact, Pillow's warns first
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels; at most {MAX_PIXELS} are unpacked")
        described = {"width": width, "height": height, "format": str(image.format).lower()}
        image.load()
        if max(image.size) <= MAX_SIDE and len(content) <= max_bytes:
            encoded, media_type = content, f"image/{described['format']}"
        else:
            encoded, media_type = _shrunk(image, max_bytes)
        data = base64.b64encode(encoded).decode()
        return {**described, "data": data, "media_type": media_type}


def _shrunk(image: Image.Image, max_bytes: int) -> tuple[bytes, str]:
    """As PNG where that fits, else as JPEG, smaller and smaller."""
    from PIL import Image, ImageOps

    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    picture = ImageOps.exif_transpose(image).convert("RGBA" if has_alpha else "RGB")
    side = MAX_SIDE
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    encoded = _encoded(picture, "PNG")
    if len(encoded) <= max_bytes:
        return encoded, "image/png"
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A") if has_alpha else None)
    while True:
        encoded = _encoded(flat, "JPEG")
        if len(encoded) <= max_bytes or side < 64:
            return encoded, "image/jpeg"
        side = side * 3 // 4
        flat.thumbnail((side, side), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=85)
    return buffer.getvalue()
