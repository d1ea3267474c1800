"""File tools: reading the workspace, changing the step's own directory."""

from __future__ import annotations

from typing import ClassVar

from tools import step_files
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.file_search import search
from tools.file_view import decode, lines_of, numbered, tree

_PATH = {
    "type": "string",
    "description": "Relative to the working directory; ../data/x and ../<step>/x can be read.",
}
_READS = ToolAnnotations(read_only=True, idempotent=True)


class ReadFile(BaseTool):
    name = "read_file"
    description = "Shows a text file with line numbers."
    parameters = object_schema(
        ("path",),
        path=_PATH,
        first_line={"type": "integer", "minimum": 1},
        last_line={"type": "integer", "minimum": 1},
    )
    annotations = _READS
    on_unknown = "rerun"

    async def execute(
        self, path: str, first_line: int = 1, last_line: int | None = None
    ) -> ToolResult:
        text, _ = decode(step_files.read_bytes(self.context.directory, path), path)
        lines = lines_of(text)
        last = min(last_line or len(lines), len(lines))
        if lines and first_line > len(lines):
            return self.fail_response(f"{path}: has {len(lines)} lines")
        return self.success_response(numbered(lines, first_line, last) or "(empty file)")


class WriteFile(BaseTool):
    name = "write_file"
    description = "Writes a whole text file, replacing one that exists; missing folders are made."
    parameters = object_schema(("path", "content"), path=_PATH, content={"type": "string"})
    annotations = ToolAnnotations(idempotent=True)
    verbatim: ClassVar[frozenset[str]] = frozenset({"content"})
    on_unknown = "rerun"

    async def execute(self, path: str, content: str) -> ToolResult:
        data = content.encode()
        step_files.write_bytes(self.context.directory, path, data)
        return self.success_response(f"Wrote {len(data)} bytes to {path}.")


class ListFiles(BaseTool):
    name = "list_files"
    description = "Lists the files below a directory."
    parameters = object_schema(
        path=_PATH, depth={"type": "integer", "minimum": 1, "maximum": 10, "default": 3}
    )
    annotations = _READS
    on_unknown = "rerun"

    async def execute(self, path: str = ".", depth: int = 3) -> ToolResult:
        if step_files.kind_of(self.context.directory, path) != "directory":
            return self.fail_response(f"{path}: is no directory")
        return self.success_response("\n".join(tree(self.context.directory, path, depth)))


class SearchFiles(BaseTool):
    name = "search_files"
    description = (
        "Finds lines that contain a text, in every text file below a directory. "
        "'names' narrows it to files whose path matches a pattern such as *.py."
    )
    parameters = object_schema(
        ("text",),
        text={"type": "string", "minLength": 1},
        path=_PATH,
        names={"type": "string"},
        ignore_case={"type": "boolean"},
    )
    annotations = _READS
    on_unknown = "rerun"

    async def execute(
        self, text: str, path: str = ".", names: str = "*", ignore_case: bool = False
    ) -> ToolResult:
        found = search(self.context.directory, path, text, names, ignore_case)
        return self.success_response("\n".join(found) or "No line matches.")


class MoveFile(BaseTool):
    name = "move_file"
    description = "Moves or renames a file or folder; the target must not exist."
    parameters = object_schema(("source", "target"), source=_PATH, target=_PATH)
    on_unknown = "fail"

    async def execute(self, source: str, target: str) -> ToolResult:
        step_files.move(self.context.directory, source, target)
        return self.success_response(f"Moved {source} to {target}.")


class DeleteFile(BaseTool):
    name = "delete_file"
    description = "Deletes a file or an empty folder."
    parameters = object_schema(("path",), path=_PATH)
    on_unknown = "fail"

    async def execute(self, path: str) -> ToolResult:
        step_files.remove(self.context.directory, path)
        return self.success_response(f"Deleted {path}.")
