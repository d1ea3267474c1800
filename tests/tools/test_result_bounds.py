"""However much a tool gives back, what goes on is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from core.base import JsonObject
from core.message import ImagePart, TextPart
from tools.base import BaseTool, ToolResult, object_schema
from tools.invoke import invoke
from tools.result_bounds import (
    MAX_DATA_CHARS,
    MAX_ERROR_CHARS,
    MAX_IMAGE_CHARS,
    MAX_IMAGES,
    MAX_OUTPUT_CHARS,
    MAX_STATE_CHARS,
)

NOTE = 100
"""What is said of a cut takes some characters too."""


class Giving(BaseTool):
    name = "giving"
    description = "Gives what it is told to."
    parameters = object_schema()

    def __init__(self, result: ToolResult) -> None:
        self._result = result

    async def execute(self) -> ToolResult:
        return self._result


async def given(**result: Any) -> ToolResult:
    return await invoke(Giving(ToolResult(**result)), {})


async def test_what_is_small_stays_as_it_is() -> None:
    image = ImagePart(media_type="image/png", data="AAAA")
    small = ToolResult(output="x", data={"a": [1]}, images=(image,), state=(image,), exit_code=3)
    assert await invoke(Giving(small), {}) == small


async def test_text_is_cut_and_that_is_said() -> None:
    cut = await given(
        output="x" * (MAX_OUTPUT_CHARS + 9),
        error="e" * (MAX_ERROR_CHARS + 9),
        state=(TextPart(text="s" * (MAX_STATE_CHARS + 9)),),
    )
    assert cut.error is not None
    (state,) = cut.state
    assert isinstance(state, TextPart)
    for text, most in (
        (cut.output, MAX_OUTPUT_CHARS),
        (cut.error, MAX_ERROR_CHARS),
        (state.text, MAX_STATE_CHARS),
    ):
        assert text.endswith("[… 9 characters left out …]")
        assert len(text) < most + NOTE


async def test_too_many_images_and_too_large_ones_are_left_out() -> None:
    dot = ImagePart(media_type="image/png", data="AAAA")
    huge = ImagePart(media_type="image/png", data="A" * (MAX_IMAGE_CHARS + 1))
    cut = await given(images=(huge, *[dot] * (MAX_IMAGES + 4)), state=(huge, dot))
    assert cut.images == (dot,) * MAX_IMAGES
    assert cut.output == "[5 images left out: too many, or too large]"
    assert cut.state == (dot,)


async def test_data_that_are_too_much_make_an_error_and_not_half_an_answer() -> None:
    cut = await given(output="done", data=["x" * 1000] * (MAX_DATA_CHARS // 1000))
    assert cut.data is None
    assert cut.error is not None
    assert "its data exceed" in cut.error
    assert cut.output == "done"


def doubling(levels: int) -> JsonObject:
    """Each level refers twice to the next: 2 to the power of ``levels`` checks, in a short text."""
    names = [f"level{number}" for number in range(levels)]
    below = [{"$ref": f"#/$defs/{name}"} for name in names[1:]]
    definitions: JsonObject = {n: {"allOf": [b, b]} for n, b in zip(names, below, strict=False)}
    definitions[names[-1]] = {"type": "integer"}
    return {**object_schema(x={"$ref": f"#/$defs/{names[0]}"}), "$defs": definitions}


@pytest.mark.parametrize(("levels", "is_refused"), [(5, False), (40, True)])
async def test_a_schema_that_doubles_at_each_reference_is_given_up(
    levels: int, is_refused: bool
) -> None:
    class Doubling(BaseTool):
        name = "doubling"
        description = "Has a schema that grows."
        parameters = doubling(levels)

        async def execute(self, x: int) -> ToolResult:
            return self.success_response({"x": x})

    answer = await invoke(Doubling(), {"x": 1})
    assert ("refers on too often" in answer.text) == is_refused
    assert answer.is_error == is_refused
