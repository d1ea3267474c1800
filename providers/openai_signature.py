"""What some chat services want back with a turn: proof that its thinking and its calls are theirs.

It travels as the signature of the turn's thinking part.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from core.base import JsonObject, Value
from core.message import ThinkingPart

_TEXTS = ("text", "summary", "data")


class TurnSignature(Value):
    """``extra_content`` by the id of its call; ``reasoning_details`` in their order."""

    extra_content: dict[str, JsonObject] = Field(default_factory=dict)
    reasoning_details: tuple[JsonObject, ...] = ()

    def write(self) -> str | None:
        """As the signature of a thinking part; ``None`` where there is nothing to keep."""
        if not self.extra_content and not self.reasoning_details:
            return None
        return self.model_dump_json(exclude_defaults=True)


def read_signature(parts: Iterable[ThinkingPart]) -> TurnSignature:
    """What was kept of a turn.

    Empty where a signature is of another protocol, from before the provider's kind was changed.
    """
    for part in parts:
        try:
            return TurnSignature.model_validate_json(part.signature or "")
        except ValueError:
            continue
    return TurnSignature()


def join_details(fragments: Iterable[JsonObject]) -> tuple[JsonObject, ...]:
    """Whole reasoning details from the pieces of a stream, whose texts belong together.

    A piece goes on with the one before where both have the same type and index.
    """
    whole: list[JsonObject] = []
    for piece in fragments:
        if not whole or _place(whole[-1]) != _place(piece):
            whole.append(dict(piece))
            continue
        for key, value in piece.items():
            if key in _TEXTS and isinstance(value, str):
                whole[-1][key] = (whole[-1].get(key) or "") + value
            elif value is not None:
                whole[-1][key] = value
    return tuple(whole)


def _place(detail: JsonObject) -> tuple[object, object]:
    return detail.get("type"), detail.get("index", object())
