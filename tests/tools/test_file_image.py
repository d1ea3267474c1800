import base64
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tools.base import ToolContext, ToolResult
from tools.charts.in_sandbox.image import MAX_SIDE, scaled
from tools.file_image import SeeImage
from tools.invoke import invoke


async def see(context: ToolContext, path: str) -> ToolResult:
    return await invoke(SeeImage().bind(context), {"path": path})


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """An image that does not compress."""
    return Image.effect_noise((width, height), 200).convert(mode)


def save(context: ToolContext, name: str, image: Image.Image) -> Path:
    path = context.directory.path / name
    image.save(path)
    return path


def opened(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("ending", ["png", "jpeg", "gif", "webp"])
async def test_a_small_image_is_shown_as_it_is(context: ToolContext, ending: str) -> None:
    path = save(context, f"a.{ending}", Image.new("RGB", (20, 10), "red"))
    result = await see(context, f"a.{ending}")
    assert result.output == f"a.{ending}: 20 x 10 pixels, {ending.upper()}."
    assert result.images[0].media_type == f"image/{ending}"
    assert base64.b64decode(result.images[0].data) == path.read_bytes()


async def test_a_large_image_is_scaled(context: ToolContext) -> None:
    save(context, "large.png", noise(1800, 900))
    result = await see(context, "large.png")
    [image] = result.images
    assert len(image.data) < 5_000_000
    with opened(image.data) as shown:
        assert shown.size == (MAX_SIDE, MAX_SIDE // 2)
    assert "1800 x 900" in result.output


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA"])
def test_an_image_is_brought_below_any_size(mode: str) -> None:
    buffer = io.BytesIO()
    noise(600, 400, "RGBA" if mode == "LA" else mode).convert(mode).save(buffer, "PNG")
    result = scaled(buffer.getvalue(), 60_000)
    assert len(base64.b64decode(result["data"])) <= 60_000
    with opened(result["data"]) as shown:
        shown.load()
        assert result["media_type"] == f"image/{str(shown.format).lower()}"


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose pixels would fill gigabytes."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    mark = b"\x89PNG\r\n\x1a\n"
    return mark + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


async def test_what_cannot_be_shown_is_told(context: ToolContext) -> None:
    files = {
        "bomb.png": (bomb(60_000), "at most 50000000 are unpacked"),
        "text.png": (b"no image", "cannot identify image file"),
        "cut.png": (bomb(100)[:60], "truncated"),
        "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot identify"),
    }
    for name, (content, told) in files.items():
        (context.directory.path / name).write_bytes(content)
        result = await see(context, name)
        assert result.is_error, name
        assert told in result.text, name
        assert result.images == ()
    assert "No such file" in (await see(context, "absent.png")).text
