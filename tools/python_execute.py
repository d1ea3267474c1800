"""Python code in the sandbox, one process per call."""

from __future__ import annotations

import functools
import json
import secrets
import site
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from core.errors import InvalidArgumentsError, ToolFailedError
from tools import step_files
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema
from tools.sandbox.base import SandboxCommand, SandboxLimits
from tools.sandboxed import INPUTS_TEXT, TIMEOUT_SCHEMA, annotations_for, failure, result
from tools.workspace import BOOKKEEPING_PREFIX, StepDirectory

MAX_RESULT_BYTES = 5_000_000


class PythonExecute(BaseTool):
    name = "python_execute"
    description = (
        "Runs Python code in the step's working directory. pandas, numpy, duckdb "
        "and altair are there. Print what you want to see. Every call is a new process: variables "
        "do not last, files do. A value left in the variable 'output' becomes the structured "
        "result; it must be JSON-serialisable."
    )
    parameters = object_schema(
        ("code",),
        code={"type": "string", "minLength": 1},
        timeout_seconds=TIMEOUT_SCHEMA,
        inputs={"type": "object", "description": f"{INPUTS_TEXT} They are the dict 'inputs'."},
    )
    verbatim: ClassVar[frozenset[str]] = frozenset({"code"})
    on_unknown = "rerun"

    def __init__(self, network: bool = False) -> None:
        self.annotations: ToolAnnotations = annotations_for(network)

    async def execute(
        self,
        code: str,
        timeout_seconds: float | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        limits = self.context.limits
        allowed = min(timeout_seconds or limits.timeout_seconds, limits.timeout_seconds)
        return await self._run(code, inputs or {}, replace(limits, timeout_seconds=allowed))

    async def _run(self, code: str, inputs: Mapping[str, Any], limits: SandboxLimits) -> ToolResult:
        directory = self.context.directory
        result_file = f"{BOOKKEEPING_PREFIX}-result-{secrets.token_hex(8)}.json"
        try:
            outcome = await self.sandbox.run(
                SandboxCommand(
                    argv=(sys.executable, "-I", "-S", "-c", _bootstrap()),
                    directory=directory,
                    environment=self.context.environment,
                    stdin=_program(code, inputs, result_file),
                    limits=limits,
                )
            )
            data = _result(directory, result_file)
        finally:
            _clear(directory, result_file)
        return result(outcome, failure(outcome, limits), data)


@functools.cache
def _bootstrap() -> str:
    return Path(__file__).with_name("python_bootstrap.py").read_text(encoding="utf-8")


@functools.cache
def _packages() -> tuple[str, ...]:
    """Where this interpreter's packages are: the sandboxed one does not run ``site``."""
    paths = sysconfig.get_paths()
    found = dict.fromkeys((*site.getsitepackages(), paths["purelib"], paths["platlib"]))
    return tuple(place for place in found if Path(place).is_dir())


def _program(code: str, inputs: Mapping[str, Any], result_file: str) -> bytes:
    try:
        source = code.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentsError(f"'code': {error}") from error
    values = json.dumps(inputs).encode() if inputs else b""
    fields = [str(len(source)), str(len(values)), *map(quote, (result_file, *_packages()))]
    return " ".join(fields).encode() + b"\n" + source + values


def _result(directory: StepDirectory, result_file: str) -> Any:
    """The value of ``output``. Sandboxed code could have written anything there."""
    if step_files.kind_of(directory, result_file) is None:
        return None
    try:
        return json.loads(step_files.read_bytes(directory, result_file, MAX_RESULT_BYTES))
    except ValueError as error:
        raise ToolFailedError(f"the structured result is not JSON: {error}") from error


def _clear(directory: StepDirectory, result_file: str) -> None:
    if step_files.kind_of(directory, result_file):
        step_files.remove(directory, result_file)
