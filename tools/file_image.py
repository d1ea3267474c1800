"""Showing an image of the workspace to a model that can see."""

from __future__ import annotations

import base64

from core.errors import ToolFailedError
from core.message import ImagePart
from tools import step_files
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.sandboxed_call import SandboxedFunction, call_in_sandbox

MAX_FILE_BYTES = 20_000_000
MAX_SHOWN_BYTES = 3_500_000
"""Base64 of it stays below the 5 MB that providers take."""

_SCALE = SandboxedFunction(("tools.charts.in_sandbox.image",), "main")


class SeeImage(BaseTool):
    """The file is unpacked in the sandbox: decoders of strangers' bytes do not run here."""

    name = "see_image"
    description = (
        "Shows you an image file (PNG, JPEG, GIF or WebP) of the workspace. Large ones are scaled "
        "to 1568 pixels; of an animation you see the first frame."
    )
    parameters = object_schema(
        ("path",),
        path={
            "type": "string",
            "description": "Relative to the working directory; ../data/x and ../<step>/x work too.",
        },
    )
    annotations = ToolAnnotations(read_only=True, idempotent=True)
    on_unknown = "rerun"

    async def execute(self, path: str) -> ToolResult:
        content = step_files.read_bytes(self.context.directory, path, MAX_FILE_BYTES)
        argument = {"content": base64.b64encode(content).decode(), "max_bytes": MAX_SHOWN_BYTES}
        seen = await call_in_sandbox(self, _SCALE, argument)
        if "error" in seen:
            raise ToolFailedError(f"{path}: {seen['error']}")
        kind = f"{seen['width']} x {seen['height']} pixels, {seen['format'].upper()}"
        image = ImagePart(media_type=seen["media_type"], data=seen["data"])
        return ToolResult(output=f"{path}: {kind}.", images=(image,))
