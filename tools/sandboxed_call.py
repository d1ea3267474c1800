"""Calling functions of ours inside the sandbox: for bytes and engines that we do not trust here.

The sandbox does not see the project, so the modules go along as text. They import nothing of the
project but each other.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from core.base import JsonObject
from core.errors import ToolFailedError
from tools.base import BaseTool, ToolResult
from tools.python_execute import PythonExecute

_LOADER = """\
import sys, types
for name, source in inputs["modules"].items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
output = getattr(module, inputs["function"])(inputs["argument"])
"""


class SandboxedFunction(NamedTuple):
    """``modules`` in the order in which they import each other; the last one has ``function``.

    It takes and gives JSON.
    """

    modules: tuple[str, ...]
    function: str


async def call_in_sandbox(tool: BaseTool, called: SandboxedFunction, argument: JsonObject) -> Any:
    """What the function returns, run in the sandbox and within the limits of a bound tool.

    Raises:
        ToolFailedError: it raised, or exceeded a limit.
    """
    result = (
        await PythonExecute().bind(tool.context).execute(_LOADER, inputs=_inputs(called, argument))
    )
    if result.error:
        raise ToolFailedError(f"{tool.name}: {result.error}: {_last_line(result)}")
    return result.data


def _inputs(called: SandboxedFunction, argument: JsonObject) -> JsonObject:
    modules = {name: _source(name) for name in called.modules}
    return {"modules": modules, "function": called.function, "argument": argument}


def _last_line(result: ToolResult) -> str:
    lines = result.output.strip().splitlines()
    return lines[-1][:500] if lines else "no output"


@functools.cache
def _source(module: str) -> str:
    found = importlib.util.find_spec(module)
    assert found
    assert found.origin
    return Path(found.origin).read_text(encoding="utf-8")
