"""Stable digests: the same value gives the same digest in every process and on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; pydantic models by their JSON dump.

    Raises:
        TypeError: a value that JSON does not know, so that no digest hangs on a ``repr``.
        ValueError: NaN or infinity.
    """
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=_jsonable,
    )


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"no canonical JSON for {type(value).__name__}")


def fingerprint(*values: Any) -> str:
    """SHA-256 of the values' canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(list(values)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
