"""What of a step's browsing is kept with the run, so that a new browser can go on from it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydantic import Field, ValidationError

from core.base import JsonObject, Value

_NAME = "browser.json"
_log = logging.getLogger(__name__)


class Kept(Value):
    """``addresses`` are of the tabs in order. ``highest_index`` was the last element's number.

    ``storage`` is Playwright's storage state: cookies and local storage, hence secret.
    """

    addresses: tuple[str, ...] = ()
    active: int = Field(default=0, ge=0)
    highest_index: int = Field(default=0, ge=0)
    storage: JsonObject = Field(default_factory=dict)


def read_kept(private: Path | None) -> Kept:
    """Nothing where nothing was kept; a damaged file is logged and begun anew."""
    if private is None or not (private / _NAME).is_file():
        return Kept()
    try:
        return Kept.model_validate_json((private / _NAME).read_bytes())
    except ValidationError:
        _log.warning("%s is damaged; browsing begins anew", private / _NAME)
        return Kept()


def write_kept(private: Path | None, kept: Kept) -> None:
    """Whole or not at all, and readable by us alone."""
    if private is None:
        return
    temporary = private / f"{_NAME}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(kept.model_dump_json())
    temporary.replace(private / _NAME)


def forget_tabs(private: Path | None) -> None:
    """Keeps the rest: who is logged in stays so."""
    write_kept(private, read_kept(private).model_copy(update={"addresses": (), "active": 0}))
