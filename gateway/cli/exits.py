"""Exit codes and how an error looks on the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import (
    BadInputError,
    BudgetExceededError,
    EnvironmentUnusableError,
    ManusError,
    RunLockedError,
)

if TYPE_CHECKING:
    from core.base import V


class Exit(IntEnum):
    """What a command's exit code means."""

    COMPLETED = 0
    FAILED = 1
    BAD_INPUT = 2
    ENVIRONMENT = 3
    OVER_BUDGET = 4
    CANCELLED = 130


def code_of(error: ManusError) -> Exit:
    match error:
        case BadInputError() | RunLockedError():
            return Exit.BAD_INPUT
        case EnvironmentUnusableError():
            return Exit.ENVIRONMENT
        case BudgetExceededError():
            return Exit.OVER_BUDGET
        case _:
            return Exit.FAILED


@contextmanager
def told_plainly(as_json: bool) -> Generator[None]:
    """Our own errors end the command with one line on stderr (and a document on stdout)."""
    try:
        yield
    except ManusError as error:
        code = code_of(error)
        sys.stderr.write(f"error: {error}\n")
        if as_json:
            document = {"error": type(error).__name__, "message": str(error), "exit_code": code}
            sys.stdout.write(json.dumps(document) + "\n")
        raise SystemExit(code) from error


def checked(kind: type[V], /, **values: Any) -> V:
    """A value made of a command's options. Raises BadInputError for one out of range."""
    from pydantic import ValidationError

    from core.settings import first_problem

    try:
        return kind(**values)
    except ValidationError as error:
        raise BadInputError(first_problem(error)) from error


def write_file(path: Path, text: str) -> None:
    """Writes what a command was asked to write. Raises BadInputError where it cannot."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from error
