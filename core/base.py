"""The base of every value that crosses a boundary."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeGuard, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticSerializationError

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""An identifier safe in file names, result keys and artifact keys: 1-63 of a-z 0-9 _ -."""

JsonObject = dict[str, Any]


class Value(BaseModel):
    """Frozen, and strict about its field names: an unknown key is an error, not noise."""

    model_config = ConfigDict(frozen=True, extra="forbid")


V = TypeVar("V", bound=Value)


def as_stored(value: V) -> V:
    """``value`` as JSON gives it back, so that its first use and its replay see the same.

    NaN and infinity become null, dates text, and half a surrogate pair (models and tools do write
    one) a question mark.

    Raises:
        ValueError: something in it has no JSON at all.
    """
    try:
        text = value.model_dump_json()
    except PydanticSerializationError:
        values = value.model_dump(mode="json")
        text = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace").decode()
    return type(value).model_validate_json(text)


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a parsed JSON or YAML value is a mapping."""
    return isinstance(value, dict)
