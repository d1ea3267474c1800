"""What OpenAI chat completions answers, whole or in chunks, from OpenAI and from lookalikes.

The models read leniently what servers are known to leave out or to write as null.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from core.base import JsonObject
from core.completion import StopReason, TokenUsage
from core.message import Part, TextPart, ThinkingPart
from providers.base import AnswerDraft
from providers.openai_signature import TurnSignature, join_details
from providers.tool_calls import read_tool_call


def _or_empty(value: Any) -> Any:
    return [] if value is None else value


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


Count = Annotated[int, BeforeValidator(_or_zero)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FunctionCall(_Wire):
    name: str | None = None
    arguments: Any = None


class ToolCall(_Wire):
    index: int | None = None
    id: str | None = None
    function: FunctionCall = FunctionCall()
    extra_content: dict[str, Any] | None = None


class AnswerMessage(_Wire):
    """A whole message, or the part of one that a chunk adds."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Annotated[tuple[JsonObject, ...], BeforeValidator(_or_empty)] = ()
    tool_calls: Annotated[tuple[ToolCall, ...], BeforeValidator(_or_empty)] = ()

    @property
    def thinking(self) -> str:
        return self.reasoning_content or self.reasoning or ""


class Choice(_Wire):
    message: AnswerMessage | None = None
    delta: AnswerMessage | None = None
    finish_reason: str | None = None


class PromptDetails(_Wire):
    cached_tokens: Count = 0
    cache_write_tokens: Count = 0


class CompletionDetails(_Wire):
    reasoning_tokens: Count = 0


class Usage(_Wire):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    def normalised(self) -> TokenUsage:
        prompt = self.prompt_tokens_details or PromptDetails()
        completion = self.completion_tokens_details or CompletionDetails()
        return TokenUsage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cache_read_tokens=prompt.cached_tokens,
            cache_write_tokens=prompt.cache_write_tokens,
            reasoning_tokens=completion.reasoning_tokens,
        )


class ChatAnswer(_Wire):
    """An answer or a chunk. ``error`` is set by gateways that report a failure with status 200."""

    model: str | None = None
    choices: Annotated[tuple[Choice, ...], BeforeValidator(_or_empty)] = ()
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class _CallFragments:
    id: str | None = None
    name: str = ""
    arguments: list[Any] = field(default_factory=list[Any])
    extra: dict[str, Any] | None = None

    def joined(self) -> object:
        """The arguments: text put together, or the object that some servers send at once."""
        if len(self.arguments) == 1:
            return self.arguments[0]
        return "".join(a for a in self.arguments if isinstance(a, str))


@dataclass(slots=True)
class ChatAccumulator:
    """Gathers an answer from one message or from the chunks of a stream."""

    provider: str
    text: list[str] = field(default_factory=list[str])
    refusal: list[str] = field(default_factory=list[str])
    thinking: list[str] = field(default_factory=list[str])
    details: list[JsonObject] = field(default_factory=list[JsonObject])
    finish_reason: str | None = None
    model: str | None = None
    raw_usage: dict[str, Any] = field(default_factory=dict[str, Any])
    _calls: dict[int, _CallFragments] = field(default_factory=dict[int, _CallFragments])

    def add(self, answer: ChatAnswer) -> AnswerMessage | None:
        """Takes one answer or chunk in; returns what it adds to the message."""
        self.model = answer.model or self.model
        self.raw_usage = answer.usage or self.raw_usage
        if not answer.choices:
            return None
        choice = answer.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        message = choice.message or choice.delta
        if message:
            self._add_message(message)
        return message

    def draft(self, request_id: str | None) -> AnswerDraft:
        return AnswerDraft(
            parts=self._parts(),
            stop_reason=self._stop_reason(),
            model=self.model,
            usage=Usage.model_validate(self.raw_usage).normalised(),
            raw_usage=self.raw_usage,
            request_id=request_id,
        )

    def _add_message(self, message: AnswerMessage) -> None:
        self.text.append(message.content or "")
        self.refusal.append(message.refusal or "")
        self.thinking.append(message.thinking)
        self.details += message.reasoning_details
        for call in message.tool_calls:
            self._add_call(call)

    def _add_call(self, call: ToolCall) -> None:
        fragments = self._calls.setdefault(self._slot(call), _CallFragments())
        fragments.id = call.id or fragments.id
        fragments.name = fragments.name or call.function.name or ""
        fragments.extra = call.extra_content or fragments.extra
        if call.function.arguments not in (None, ""):
            fragments.arguments.append(call.function.arguments)

    def _slot(self, call: ToolCall) -> int:
        """Which call a fragment belongs to; without an index, a name begins another one."""
        if call.index is not None:
            return call.index
        newest = max(self._calls, default=-1)
        return newest + 1 if call.function.name or newest < 0 else newest

    def _parts(self) -> tuple[Part, ...]:
        parts: list[Part] = []
        found = [self._calls[i] for i in sorted(self._calls)]
        calls = [read_tool_call(c.id, c.name, c.joined()) for c in found]
        extras = {call.id: c.extra for call, c in zip(calls, found, strict=True) if c.extra}
        details = join_details(self.details)
        signature = TurnSignature(extra_content=extras, reasoning_details=details).write()
        thinking = "".join(self.thinking)
        if thinking or signature:
            parts.append(ThinkingPart(text=thinking, signature=signature, provider=self.provider))
        if text := "".join(self.text) or "".join(self.refusal):
            parts.append(TextPart(text=text))
        return (*parts, *calls)

    def _stop_reason(self) -> StopReason:
        if self.finish_reason == "content_filter" or any(self.refusal):
            return StopReason.REFUSAL
        if self.finish_reason == "length":
            return StopReason.LENGTH
        # Several servers say "stop" after tool calls.
        if self._calls:
            return StopReason.TOOL_CALLS
        return StopReason.END if self.finish_reason == "stop" else StopReason.OTHER
