"""The text editor that models know, exact to the byte.

Tabs, line ends and the encoding stay as they are; every edit can be undone, in a later process too.
The commands are those of the ``text_editor`` tool of Anthropic's API plus ``undo_edit``.
"""

from __future__ import annotations

from typing import ClassVar

from core.errors import InvalidArgumentsError, ToolFailedError
from tools import step_files
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.edit_history import EditHistory
from tools.edit_text import inserted, replaced
from tools.file_view import MAX_SHOWN_CHARACTERS, decode, encode, lines_of, numbered, tree
from tools.workspace import StepDirectory

_TEXT = {"type": "string"}
_LINE = {"type": "integer", "minimum": 0}


class StrReplaceEditor(BaseTool):
    name = "str_replace_editor"
    description = (
        "Views and edits files. 'view' shows a file with line numbers, or a directory two levels "
        "deep. 'create' writes a new file. 'str_replace' replaces the one place where old_str "
        "occurs. 'insert' adds text after a line (0: at the top). 'undo_edit' takes the last edit "
        "of the file back. Paths are relative to the working directory."
    )
    parameters = object_schema(
        ("command", "path"),
        command={"enum": ["view", "create", "str_replace", "insert", "undo_edit"]},
        path=_TEXT,
        file_text={**_TEXT, "description": "For create: the whole content."},
        old_str={**_TEXT, "description": "For str_replace: must occur exactly once."},
        new_str={**_TEXT, "description": "For str_replace: what takes its place."},
        insert_line=_LINE,
        insert_text={**_TEXT, "description": "For insert."},
        view_range={
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 2,
            "maxItems": 2,
            "description": "For view: first and last line, from 1; -1 is the end.",
        },
        max_characters={
            "type": "integer",
            "minimum": 100,
            "maximum": MAX_SHOWN_CHARACTERS,
            "description": "For view of a file: shows no more than this.",
        },
    )
    annotations = ToolAnnotations()
    verbatim: ClassVar[frozenset[str]] = frozenset(
        {"file_text", "old_str", "new_str", "insert_text"}
    )
    on_unknown = "fail"

    async def execute(self, command: str, path: str, **options: object) -> ToolResult:
        editor = FileEditor(self.context.directory, path)
        match command, options:
            case "view", _:
                return self.success_response(editor.view(_range(options), _room(options)))
            case "create", {"file_text": str(text)}:
                return self.success_response(editor.create(text))
            case "str_replace", {"old_str": str(old)}:
                new = options.get("new_str", "")
                return self.success_response(editor.replace(old, str(new)))
            case "insert", {"insert_line": int(line)} if _inserted_text(options) is not None:
                text = _inserted_text(options)
                return self.success_response(editor.insert(line, str(text)))
            case "undo_edit", _:
                return self.success_response(editor.undo())
            case _:
                raise InvalidArgumentsError(f"'{command}' needs {_NEEDS[command]}")


_NEEDS = {
    "create": "'file_text'",
    "str_replace": "'old_str' (and 'new_str')",
    "insert": "'insert_line' and 'insert_text'",
}


def _inserted_text(options: dict[str, object]) -> object:
    return options.get("insert_text", options.get("new_str"))


def _range(options: dict[str, object]) -> tuple[int, int] | None:
    match options.get("view_range"):
        case [int(first), int(last)]:
            return first, last
        case _:
            return None


def _room(options: dict[str, object]) -> int:
    room = options.get("max_characters")
    return room if isinstance(room, int) else MAX_SHOWN_CHARACTERS


class FileEditor:
    """Edits of one file of a step."""

    def __init__(self, directory: StepDirectory, path: str) -> None:
        self._directory = directory
        self._path = path
        self._history = EditHistory(directory, path)

    def view(self, lines: tuple[int, int] | None, room: int = MAX_SHOWN_CHARACTERS) -> str:
        if step_files.kind_of(self._directory, self._path) == "directory":
            return "\n".join(tree(self._directory, self._path, 2)) or "(empty directory)"
        text, _ = decode(self._read(), self._path)
        all_lines = lines_of(text)
        first, last = lines or (1, -1)
        last = len(all_lines) if last == -1 else last
        if lines and not 1 <= first <= last <= len(all_lines):
            raise ToolFailedError(
                f"{self._path}: has lines 1 to {len(all_lines)}, not {first} to {last}"
            )
        return numbered(all_lines, first, last, room) or "(empty file)"

    def create(self, text: str) -> str:
        if step_files.kind_of(self._directory, self._path):
            raise ToolFailedError(f"{self._path}: exists already; use str_replace to change it")
        self._write(None, encode(text, "utf-8", self._path))
        return f"Created {self._path}."

    def replace(self, old: str, new: str) -> str:
        before = self._read()
        text, encoding = decode(before, self._path)
        after, line = replaced(text, old, new, self._path)
        self._write(before, encode(after, encoding, self._path))
        return f"Replaced in {self._path}:\n{_around(after, line, new)}"

    def insert(self, line: int, addition: str) -> str:
        before = self._read()
        text, encoding = decode(before, self._path)
        after = inserted(text, line, addition, self._path)
        self._write(before, encode(after, encoding, self._path))
        return f"Inserted in {self._path}:\n{_around(after, line + 1, addition)}"

    def undo(self) -> str:
        content = self._read() if step_files.kind_of(self._directory, self._path) else None
        edit = self._history.last(content)
        if edit is None:
            raise ToolFailedError(f"{self._path}: no edit to undo")
        if not edit.left(content):
            raise ToolFailedError(
                f"{self._path}: changed since its last edit, so nothing is undone"
            )
        if edit.previous is None:
            step_files.remove(self._directory, self._path)
        else:
            step_files.write_bytes(self._directory, self._path, edit.previous)
        self._history.forget(edit)
        return f"Undid the last edit of {self._path}" + (
            ", which removes the file." if edit.previous is None else "."
        )

    def _read(self) -> bytes:
        return step_files.read_bytes(self._directory, self._path)

    def _write(self, before: bytes | None, after: bytes) -> None:
        """Refuses when the file is no longer what the edit was made for."""
        there = step_files.kind_of(self._directory, self._path)
        if (self._read() if there else None) != before:
            raise ToolFailedError(f"{self._path}: changed meanwhile; view it again")
        if not self._directory.locate(self._path).writable:
            raise ToolFailedError(f"{self._path}: read-only; write in the step's own directory")
        self._history.record(before, after)
        step_files.write_bytes(self._directory, self._path, after)


def _around(text: str, line: int, change: str) -> str:
    lines = lines_of(text)
    last = min(len(lines), line + change.count("\n") + 4)
    return numbered(lines, max(1, line - 4), last)
