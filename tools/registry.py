"""The tools a run can draw on, by name."""

from __future__ import annotations

from collections.abc import Iterable

from core.completion import ToolDefinition
from core.errors import BadInputError, ConfigError, UnknownToolError
from core.settings import Settings
from tools.ask_human import AskHuman
from tools.base import BaseTool
from tools.bash import Bash
from tools.browser.browser_use import BrowserUse
from tools.charts.prepare import VisualizationPreparation
from tools.charts.visualize import DataVisualization
from tools.computer_use import ComputerUse
from tools.create_chat_completion import CreateChatCompletion
from tools.egress.policy import EgressPolicy
from tools.file_image import SeeImage
from tools.files import (
    DeleteFile,
    ListFiles,
    MoveFile,
    ReadFile,
    SearchFiles,
    WriteFile,
)
from tools.own_modules import tools_of
from tools.planning import Planning
from tools.python_execute import PythonExecute
from tools.str_replace_editor import StrReplaceEditor
from tools.terminate import Terminate
from tools.web_crawl import WebCrawl
from tools.web_search.tool import WebSearch


class ToolRegistry:
    """Unbound tools. A name is given once."""

    def __init__(self, *tools: BaseTool) -> None:
        self._tools: dict[str, BaseTool] = {}
        self._missing: dict[str, str] = {}
        self.add(*tools)

    def add(self, *tools: BaseTool) -> None:
        """Raises BadInputError for a name that is taken."""
        for tool in tools:
            if tool.name in self._tools:
                raise BadInputError(f"a tool named '{tool.name}' is registered already")
            self._tools[tool.name] = tool

    def get(self, name: str) -> BaseTool:
        """Raises UnknownToolError, which says why it is missing or lists the tools there are."""
        if name not in self._tools:
            self._tell_if_missing(name)
            there = ", ".join(sorted(self._tools)) or "none"
            raise UnknownToolError(f"no tool named '{name}'; there are: {there}")
        return self._tools[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def definitions(self, names: Iterable[str]) -> tuple[ToolDefinition, ...]:
        return tuple(self.get(name).definition for name in names)

    def replace(self, *tools: BaseTool) -> None:
        """Adds tools, or puts them in the place of those with their names."""
        self._tools.update({tool.name: tool for tool in tools})

    def remove(self, name: str) -> None:
        self._tools.pop(name, None)

    def note_missing(self, prefix: str, reason: str) -> None:
        """Whoever asks for a tool whose name begins so is told ``reason``."""
        self._missing[prefix] = reason

    def _tell_if_missing(self, name: str) -> None:
        for prefix, reason in self._missing.items():
            if name.startswith(prefix):
                raise UnknownToolError(reason)


def default_registry(settings: Settings | None = None) -> ToolRegistry:
    """A new registry with every built-in tool, as configured, and those of ``[tools] modules``.

    Raises:
        ConfigError: a module of one's own is not to be used; names it.
    """
    settings = settings or Settings()
    desktop = [ComputerUse(settings.computer)] if settings.computer.url else []
    registry = ToolRegistry(
        PythonExecute(settings.sandbox.network_enabled),
        Bash(settings.sandbox.network_enabled),
        StrReplaceEditor(),
        ReadFile(),
        WriteFile(),
        ListFiles(),
        SearchFiles(),
        MoveFile(),
        DeleteFile(),
        SeeImage(),
        VisualizationPreparation(settings.sandbox.network_enabled),
        DataVisualization(),
        CreateChatCompletion(),
        *desktop,
        AskHuman(),
        Planning(),
        search := WebSearch(settings),
        BrowserUse(settings.browser, EgressPolicy(settings.egress), search),
        WebCrawl(settings),
        Terminate(),
    )
    for module in settings.tools.modules:
        _add_own(registry, module)
    return registry


def _add_own(registry: ToolRegistry, module: str) -> None:
    for tool in tools_of(module):
        try:
            registry.add(tool)
        except BadInputError as error:
            raise ConfigError(f"[tools] modules: '{module}': {error}") from error
