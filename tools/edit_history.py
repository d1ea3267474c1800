"""What the editor wrote and what was there before, durable in the step's directory.

One file per edit below ``.manus/undo``, so that a call in a new process, or on another machine
that has the directory, can take the last edit back.
"""

from __future__ import annotations

import base64
import hashlib
import json

from pydantic import ValidationError

from core.base import Value
from core.errors import ToolFailedError
from tools import step_files
from tools.workspace import BOOKKEEPING_PREFIX, StepDirectory

KEPT_EDITS = 20
"""Per file; older ones are forgotten."""


class Edit(Value):
    """``before`` is base64, None where the file was new. ``after_sha256`` is what the edit left."""

    path: str
    number: int
    before: str | None
    after_sha256: str

    def left(self, content: bytes | None) -> bool:
        """Whether ``content`` is what this edit wrote."""
        return content is not None and digest(content) == self.after_sha256

    @property
    def previous(self) -> bytes | None:
        return None if self.before is None else base64.b64decode(self.before)


class EditHistory:
    """The edits of one file; ``path`` is any spelling of it."""

    def __init__(self, directory: StepDirectory, path: str) -> None:
        self._directory = directory
        self._path = directory.locate(path).relative
        key = hashlib.sha256(self._path.encode()).hexdigest()[:16]
        self._folder = f"{BOOKKEEPING_PREFIX}/undo/{key}"

    def record(self, before: bytes | None, after: bytes) -> None:
        """To be called before the edit is written: an edit can then never be without its undo."""
        numbers = self._numbers()
        edit = Edit(
            path=self._path,
            number=max(numbers, default=0) + 1,
            before=None if before is None else base64.b64encode(before).decode(),
            after_sha256=digest(after),
        )
        content = edit.model_dump_json().encode()
        step_files.write_bytes(self._directory, self._file(edit.number), content)
        for number in numbers[: max(0, len(numbers) + 1 - KEPT_EDITS)]:
            step_files.remove(self._directory, self._file(number))

    def last(self, content: bytes | None) -> Edit | None:
        """The newest edit that happened, given what the file holds now; None without any.

        An edit recorded by a process that died before writing the file is dropped.
        """
        for number in reversed(self._numbers()):
            edit = self._read(number)
            if content != edit.previous or edit.left(content):
                return edit
            self.forget(edit)
        return None

    def forget(self, edit: Edit) -> None:
        step_files.remove(self._directory, self._file(edit.number))

    def _numbers(self) -> list[int]:
        names = step_files.names_in(self._directory, self._folder)
        return sorted(int(name.removesuffix(".json")) for name in names if name[0].isdigit())

    def _file(self, number: int) -> str:
        return f"{self._folder}/{number}.json"

    def _read(self, number: int) -> Edit:
        content = step_files.read_bytes(self._directory, self._file(number), 2**28)
        try:
            return Edit.model_validate(json.loads(content))
        except (ValueError, ValidationError) as error:
            raise ToolFailedError(f"{self._path}: its undo history is damaged") from error


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
