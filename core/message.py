"""The conversation with a model: messages made of discriminated parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.base import JsonObject, Value


class TextPart(Value):
    type: Literal["text"] = "text"
    text: str


class ImagePart(Value):
    """An image by value. ``data`` is base64 without a data-URL prefix."""

    type: Literal["image"] = "image"
    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: str


class ThinkingPart(Value):
    """A model's reasoning; goes back unmodified to the provider that made it, and to no other.

    ``signature`` and ``redacted`` are opaque provider data. ``provider`` names the maker.
    """

    type: Literal["thinking"] = "thinking"
    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    provider: str


class ToolCallPart(Value):
    """A call the model asks for.

    ``arguments_error`` is set where the model's arguments were not a JSON object; ``arguments`` is
    then empty and the call must be answered with an error, not run.
    """

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: JsonObject = Field(default_factory=dict)
    arguments_error: str | None = None


class ToolResultPart(Value):
    """The answer to the call with the same id."""

    type: Literal["tool_result"] = "tool_result"
    call_id: str
    name: str
    text: str
    images: tuple[ImagePart, ...] = ()
    is_error: bool = False


Part = Annotated[
    TextPart | ImagePart | ThinkingPart | ToolCallPart | ToolResultPart, Field(discriminator="type")
]


class Message(Value):
    """One turn of one speaker. Tool results are in messages of role ``tool``."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(p.text for p in self.parts if isinstance(p, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        return tuple(p for p in self.parts if isinstance(p, ToolCallPart))


def system(text: str) -> Message:
    return Message(role="system", parts=(TextPart(text=text),))


def user(text: str, *images: ImagePart) -> Message:
    return Message(role="user", parts=(TextPart(text=text), *images))


def assistant(text: str) -> Message:
    return Message(role="assistant", parts=(TextPart(text=text),))
