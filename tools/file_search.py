"""Searching text in the files a step may read."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch

from core.errors import ToolFailedError
from tools import step_files
from tools.file_view import decode, lines_of
from tools.workspace import StepDirectory

MAX_MATCHES = 200
MAX_FILE_BYTES = 5_000_000
_SHOWN_CHARACTERS = 300


def search(
    directory: StepDirectory, path: str, text: str, names: str, ignore_case: bool
) -> list[str]:
    """Matches as ``path:line: content``; binary and very large files are passed over.

    A plain text, not a regular expression, whose running time a model could not foresee.
    """
    wanted = text.casefold() if ignore_case else text
    found: list[str] = []
    for file in _files(directory, path):
        if not fnmatch(file, names) and not fnmatch(file.rpartition("/")[2], names):
            continue
        for number, line in enumerate(_lines(directory, file), 1):
            if wanted in (line.casefold() if ignore_case else line):
                found.append(f"{file}:{number}: {line.rstrip()[:_SHOWN_CHARACTERS]}")
            if len(found) >= MAX_MATCHES:
                return [*found, f"[only the first {MAX_MATCHES} matches]"]
    return found


def _files(directory: StepDirectory, path: str) -> Iterator[str]:
    match step_files.kind_of(directory, path):
        case "directory":
            base = "" if path in (".", "./") else path.rstrip("/") + "/"
            for name in step_files.names_in(directory, path):
                if not name.startswith("."):
                    yield from _files(directory, base + name)
        case "file":
            yield path
        case None:
            raise ToolFailedError(f"{path}: no such file or directory")
        case _:
            return


def _lines(directory: StepDirectory, file: str) -> list[str]:
    try:
        content = step_files.read_bytes(directory, file, MAX_FILE_BYTES)
        return lines_of(decode(content, file)[0])
    except ToolFailedError:
        return []
