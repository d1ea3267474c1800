"""The base of every value that crosses a boundary."""

from __future__ import annotations

from typing import Annotated, Any, TypeGuard

from pydantic import BaseModel, ConfigDict, StringConstraints

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""An identifier safe in file names, result keys and artifact keys: 1-63 of a-z 0-9 _ -."""

JsonObject = dict[str, Any]


class Value(BaseModel):
    """Frozen, and strict about its field names: an unknown key is an error, not noise."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a parsed JSON or YAML value is a mapping."""
    return isinstance(value, dict)
