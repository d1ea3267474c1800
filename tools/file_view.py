"""Files and directories as a model reads them."""

from __future__ import annotations

from core.errors import ToolFailedError
from tools import step_files
from tools.workspace import BOOKKEEPING_PREFIX, StepDirectory

MAX_SHOWN_CHARACTERS = 16_000
MAX_ENTRIES = 500
_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode(content: bytes, shown: str) -> tuple[str, str]:
    """Text and its encoding, such that encoding it again gives the same bytes.

    UTF-8 (a byte order mark stays part of the text), UTF-16 with a mark, else Latin-1.

    Raises:
        ToolFailedError: binary content, told by NUL bytes.
    """
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            name = f"{encoding}-{'le' if mark[0] == 0xFF else 'be'}"
            return _strict(content, name, shown), name
    if b"\0" in content:
        raise ToolFailedError(f"{shown}: is binary ({len(content)} bytes), not text")
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def _strict(content: bytes, encoding: str, shown: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ToolFailedError(f"{shown}: is binary or damaged {encoding}") from error


def encode(text: str, encoding: str, shown: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        wrong = text[error.start : error.end]
        raise ToolFailedError(f"{shown}: is {encoding}, which has no {wrong!r}") from error


def lines_of(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one, form feeds and such are content."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def numbered(lines: list[str], first: int, last: int, room: int = MAX_SHOWN_CHARACTERS) -> str:
    """Lines ``first`` to ``last``, from 1, as ``cat -n`` shows them; says where it is cut."""
    shown: list[str] = []
    for number in range(first, last + 1):
        line = f"{number:6}\t{lines[number - 1].rstrip(chr(10)).rstrip(chr(13))}"
        if len(line) > room:
            shown.append(line[:room])
            shown.append(f"[cut in line {number} of {len(lines)}; view a range to see more]")
            break
        shown.append(line)
        room -= len(line) + 1
    return "\n".join(shown)


def tree(directory: StepDirectory, path: str, depth: int) -> list[str]:
    """Entries below a directory as paths, directories with a slash, hidden ones left out."""
    found: list[str] = []
    base = "" if path in (".", "./") else path.rstrip("/") + "/"
    for name in step_files.names_in(directory, path):
        if name.startswith((".", BOOKKEEPING_PREFIX)) or len(found) > MAX_ENTRIES:
            continue
        kind = step_files.kind_of(directory, base + name)
        found.append(base + name + ("/" if kind == "directory" else ""))
        if kind == "directory" and depth > 1:
            found += tree(directory, base + name, depth - 1)
    return found[:MAX_ENTRIES]
