"""The tools a run can draw on, by name."""

from __future__ import annotations

from collections.abc import Iterable

from core.completion import ToolDefinition
from core.errors import BadInputError, UnknownToolError
from core.settings import Settings
from tools.base import BaseTool
from tools.bash import Bash
from tools.files import (
    DeleteFile,
    ListFiles,
    MoveFile,
    ReadFile,
    SearchFiles,
    WriteFile,
)
from tools.python_execute import PythonExecute
from tools.str_replace_editor import StrReplaceEditor
from tools.terminate import Terminate


class ToolRegistry:
    """Unbound tools. A name is given once."""

    def __init__(self, *tools: BaseTool) -> None:
        self._tools: dict[str, BaseTool] = {}
        self.add(*tools)

    def add(self, *tools: BaseTool) -> None:
        """Raises BadInputError for a name that is taken."""
        for tool in tools:
            if tool.name in self._tools:
                raise BadInputError(f"a tool named '{tool.name}' is registered already")
            self._tools[tool.name] = tool

    def get(self, name: str) -> BaseTool:
        """Raises UnknownToolError, which lists the tools there are."""
        if name not in self._tools:
            there = ", ".join(sorted(self._tools)) or "none"
            raise UnknownToolError(f"no tool named '{name}'; there are: {there}")
        return self._tools[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def definitions(self, names: Iterable[str]) -> tuple[ToolDefinition, ...]:
        return tuple(self.get(name).definition for name in names)


def default_registry(settings: Settings | None = None) -> ToolRegistry:
    """A new registry with every built-in tool, as configured."""
    settings = settings or Settings()
    return ToolRegistry(
        PythonExecute(),
        Bash(),
        StrReplaceEditor(),
        ReadFile(),
        WriteFile(),
        ListFiles(),
        SearchFiles(),
        MoveFile(),
        DeleteFile(),
        Terminate(),
    )
