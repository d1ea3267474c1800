"""What every tool is: a name, a schema, and one coroutine that returns a result.

A tool of one's own::

    class WordCount(BaseTool):
        name = "word_count"
        description = "Counts the words of a text."
        parameters = object_schema(("text",), text={"type": "string"})

        async def execute(self, text: str) -> ToolResult:
            return self.success_response({"words": len(text.split())})
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from core.base import JsonObject, Value
from core.completion import ToolDefinition
from core.errors import EnvironmentUnusableError
from core.message import ImagePart, TextPart
from core.plan import OnUnknown
from core.ports import Human, PlanBook, ToolModel
from tools.resources import Scopes
from tools.sandbox.base import Sandbox, SandboxLimits
from tools.workspace import StepDirectory


class ToolAnnotations(Value):
    """What a call may do, for approvals and for deciding about calls of unknown outcome.

    ``risk`` is high where a call can change something outside the run's workspace.
    ``untrusted_output`` marks tools whose results hold what strangers wrote.
    """

    read_only: bool = False
    idempotent: bool = False
    network: bool = False
    risk: Literal["low", "high"] = "low"
    untrusted_output: bool = False


class ToolResult(Value):
    """One call's answer. ``error`` says in one line what failed; ``output`` may be there as well.

    ``data`` is structured JSON for later steps. ``sandbox`` is the level that confined the call.
    ``terminated`` is set by the tool that ends an agent's work. ``state`` is how things stand after
    the call, for the model's next turn only.
    """

    output: str = ""
    data: Any = None
    error: str | None = None
    images: tuple[ImagePart, ...] = ()
    sandbox: str | None = None
    exit_code: int | None = None
    terminated: Literal["success", "failure"] | None = None
    state: tuple[TextPart | ImagePart, ...] = ()

    @property
    def is_error(self) -> bool:
        return self.error is not None

    @property
    def text(self) -> str:
        """What the model reads."""
        return "\n".join(part for part in (self.error, self.output) if part) or "(no output)"


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a call may use. ``environment`` is for sandboxed commands and holds no secrets.

    ``scopes`` hold what stays open between calls. ``private`` is a directory of the step's own that
    no sandbox sees, kept with the run.
    """

    directory: StepDirectory
    sandbox: Sandbox | None = None
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    scopes: Scopes = field(default_factory=Scopes)
    private: Path | None = None
    model: ToolModel | None = None
    human: Human | None = None
    plan: PlanBook | None = None


class BaseTool(ABC):
    """A subclass sets the first three attributes and implements ``execute``.

    ``timeout_seconds`` bounds a call beside the sandbox's own limit. ``verbatim`` names arguments
    that are code and must never be filled in by a template. ``on_unknown`` decides about a call
    found in flight on resume.
    """

    name: str
    description: str
    parameters: JsonObject
    annotations: ToolAnnotations = ToolAnnotations()
    timeout_seconds: float | None = None
    verbatim: ClassVar[frozenset[str]] = frozenset()
    on_unknown: OnUnknown = "fail"

    _context: ToolContext | None = None

    @abstractmethod
    async def execute(self, *args: Any, **kwargs: Any) -> ToolResult:
        """Runs one call; the keyword arguments fit ``parameters``.

        Raises:
            AnswerToModelError: told to the model, as is any other exception.
        """

    @property
    def context(self) -> ToolContext:
        """Raises RuntimeError on a tool that is not bound."""
        if self._context is None:
            raise RuntimeError(f"tool '{self.name}' is not bound to a context")
        return self._context

    @property
    def sandbox(self) -> Sandbox:
        if self.context.sandbox is None:
            raise EnvironmentUnusableError(f"tool '{self.name}' needs a sandbox")
        return self.context.sandbox

    def bind(self, context: ToolContext) -> Self:
        """A copy that works in ``context``."""
        bound = copy.copy(self)
        bound._context = context
        return bound

    @cached_property
    def definition(self) -> ToolDefinition:
        return ToolDefinition(
            name=self.name, description=self.description, parameters=self.parameters
        )

    def success_response(self, data: str | JsonObject | list[Any]) -> ToolResult:
        """Text as it is; anything else as indented JSON and as ``data``."""
        if isinstance(data, str):
            return ToolResult(output=data)
        return ToolResult(output=json.dumps(data, indent=2, ensure_ascii=False), data=data)

    def fail_response(self, msg: str) -> ToolResult:
        return ToolResult(error=msg)


def object_schema(required: tuple[str, ...] = (), /, **properties: JsonObject) -> JsonObject:
    """A JSON schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
