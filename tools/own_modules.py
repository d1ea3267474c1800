"""Tools that an operator wrote: those of the modules named in ``[tools] modules``."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import TypeGuard

from core.errors import ConfigError
from tools.base import BaseTool


def tools_of(module_name: str) -> tuple[BaseTool, ...]:
    """One of each tool class that is written in the module, in the order of their names.

    Raises:
        ConfigError: names the module, and the class where one is wrong.
    """
    place = f"[tools] modules: '{module_name}'"
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a stranger's module may raise anything while it is imported
        raise ConfigError(f"{place} cannot be imported: {_said(error)}") from error
    members = [member for _, member in inspect.getmembers(module, inspect.isclass)]
    classes = [member for member in members if _is_tool(member, module)]
    if not classes:
        raise ConfigError(f"{place} has no class that derives from tools.base.BaseTool")
    return tuple(_made(tool_class, place) for tool_class in classes)


def _is_tool(found: type, module: ModuleType) -> TypeGuard[type[BaseTool]]:
    """Not what the module only imports, nor a base that has no ``execute`` yet."""
    own = found.__module__ == module.__name__
    return own and issubclass(found, BaseTool) and not inspect.isabstract(found)


def _made(tool_class: type[BaseTool], place: str) -> BaseTool:
    where = f"{place}: {tool_class.__name__}"
    try:
        tool = tool_class()
    except Exception as error:  # see above
        raise ConfigError(f"{where} cannot be made without arguments: {_said(error)}") from error
    for attribute in ("name", "description", "parameters"):
        if not getattr(tool, attribute, None):
            raise ConfigError(f"{where} has no {attribute}")
    return tool


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
