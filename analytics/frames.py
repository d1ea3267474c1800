"""Figures as pandas data frames, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.base import Value

if TYPE_CHECKING:
    import pandas


def to_frame(rows: Sequence[Value]) -> pandas.DataFrame:
    """One row per figure. A nested figure becomes columns ``outer_inner``, the keys and the spend
    of a group columns of their own names.

    Money becomes a float: good for charts, not for adding up bills. No rows give an empty frame.
    """
    import pandas

    return pandas.DataFrame([_flat(row, "") for row in rows])


def _flat(row: Value, prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name in type(row).model_fields:
        value = getattr(row, name)
        if isinstance(value, Value):
            flat |= _flat(value, "" if name == "spend" else f"{prefix}{name}_")
        elif name == "keys":
            flat |= {dimension.value: key for dimension, key in value.items()}
        else:
            flat[f"{prefix}{name}"] = float(value) if isinstance(value, Decimal) else value
    return flat
