"""Editing text without touching anything else in it."""

from __future__ import annotations

from core.errors import ToolFailedError
from tools.file_view import lines_of


def replaced(text: str, old: str, new: str, shown: str) -> tuple[str, int]:
    """The text with the only occurrence of ``old`` replaced, and the line it begins in.

    Models write \\n where a file has \\r\\n; where ``old`` is found only with the file's own line
    ends, ``new`` gets them too.

    Raises:
        ToolFailedError: no occurrence, or several, counting overlapping ones; says the lines.
    """
    if not old:
        raise ToolFailedError("'old_str' is empty")
    if old not in text and "\r\n" in text and "\r" not in old:
        old, new = old.replace("\n", "\r\n"), _with_line_ends(new)
    places = _occurrences(text, old)
    if not places:
        raise ToolFailedError(f"{shown}: old_str does not occur; it must match to the character")
    if len(places) > 1:
        lines = ", ".join(str(_line(text, place)) for place in places[:20])
        raise ToolFailedError(f"{shown}: old_str occurs {len(places)} times, in lines {lines}")
    place = places[0]
    return text[:place] + new + text[place + len(old) :], _line(text, place)


def _occurrences(text: str, part: str) -> list[int]:
    places: list[int] = []
    place = text.find(part)
    while place >= 0 and len(places) < 1000:
        places.append(place)
        place = text.find(part, place + 1)
    return places


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _with_line_ends(text: str) -> str:
    return text if "\r" in text else text.replace("\n", "\r\n")


def inserted(text: str, line: int, addition: str, shown: str) -> str:
    """The text with ``addition`` as lines of its own after ``line``; 0 is the top.

    Raises:
        ToolFailedError: no such line.
    """
    lines = lines_of(text)
    if not 0 <= line <= len(lines):
        raise ToolFailedError(f"{shown}: insert_line must be 0 to {len(lines)}")
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if end == "\r\n":
        addition = _with_line_ends(addition)
    head, tail = "".join(lines[:line]), "".join(lines[line:])
    if head and not head.endswith("\n"):
        # The last line stays without an end: it gets one, the addition takes over its lack.
        return head + end + addition
    return head + addition + ("" if addition.endswith("\n") else end) + tail
