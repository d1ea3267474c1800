"""Who made the thinking and the tool calls of a conversation."""

from __future__ import annotations

from collections import OrderedDict

from core.completion import Completion, CompletionRequest
from core.message import ThinkingPart, ToolCallPart

_REMEMBERED_CALLS = 4096


class Makers:
    """The providers of the newest tool calls; thinking carries its own provider's name."""

    def __init__(self) -> None:
        self._makers: OrderedDict[str, str] = OrderedDict()

    def of(self, request: CompletionRequest) -> str | None:
        """The provider that made the newest thinking or tool call of the conversation."""
        for message in reversed(request.messages):
            for part in message.parts:
                if isinstance(part, ThinkingPart):
                    return part.provider
                if isinstance(part, ToolCallPart) and part.id in self._makers:
                    return self._makers[part.id]
        return None

    def remember(self, completion: Completion) -> None:
        for tool_call in completion.tool_calls:
            self._makers[tool_call.id] = completion.provider
        while len(self._makers) > _REMEMBERED_CALLS:
            self._makers.popitem(last=False)
