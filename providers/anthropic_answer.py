"""What Anthropic's messages API answers, whole or as the events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from core.completion import StopReason, TokenUsage
from core.message import Part, TextPart, ThinkingPart
from providers.base import AnswerDraft
from providers.tool_calls import read_tool_call

_STOPS: Mapping[str, StopReason] = MappingProxyType(
    {
        "end_turn": StopReason.END,
        "stop_sequence": StopReason.END,
        "tool_use": StopReason.TOOL_CALLS,
        "max_tokens": StopReason.LENGTH,
        "model_context_window_exceeded": StopReason.LENGTH,
        "refusal": StopReason.REFUSAL,
    }
)


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


Count = Annotated[int, BeforeValidator(_or_zero)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Block(_Wire):
    """A content block, or a delta of one; blocks of server-side tools have other types."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str | None = None
    name: str = ""
    input: Any = None
    partial_json: str = ""


class OutputDetails(_Wire):
    thinking_tokens: Count = 0


class Usage(_Wire):
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    cache_creation_input_tokens: Count = 0
    output_tokens_details: OutputDetails | None = None

    def normalised(self) -> TokenUsage:
        """With the tokens of the cache, which the wire counts apart, inside the input."""
        cached = self.cache_read_input_tokens + self.cache_creation_input_tokens
        details = self.output_tokens_details or OutputDetails()
        return TokenUsage(
            input_tokens=self.input_tokens + cached,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read_input_tokens,
            cache_write_tokens=self.cache_creation_input_tokens,
            reasoning_tokens=details.thinking_tokens,
        )


class MessageAnswer(_Wire):
    model: str | None = None
    content: tuple[Block, ...] = ()
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None


class StreamDelta(_Wire):
    """The delta of ``message_delta``, or of a block."""

    type: str = ""
    stop_reason: str | None = None
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""


class StreamEvent(_Wire):
    type: str
    index: int = 0
    message: MessageAnswer | None = None
    content_block: Block | None = None
    delta: StreamDelta | None = None
    usage: dict[str, Any] | None = None


@dataclass(slots=True)
class _OpenBlock:
    start: Block
    text: list[str] = field(default_factory=list[str])
    signature: list[str] = field(default_factory=list[str])

    def add(self, delta: StreamDelta) -> None:
        self.text.append(delta.text or delta.thinking or delta.partial_json)
        self.signature.append(delta.signature)

    def close(self) -> Block:
        text = "".join(self.text)
        signature = self.start.signature + "".join(self.signature)
        changes: dict[str, Any] = {"text": self.start.text + text}
        if self.start.type == "thinking":
            changes = {"thinking": self.start.thinking + text, "signature": signature}
        elif self.start.type == "tool_use":
            changes = {"input": text or self.start.input}
        return self.start.model_copy(update=changes)


@dataclass(slots=True)
class MessageAccumulator:
    """Gathers the events of a stream into the message that they describe.

    ``stopped`` tells that the terminal marker was seen.
    """

    stopped: bool = False
    _model: str | None = None
    _stop_reason: str | None = None
    _usage: dict[str, Any] = field(default_factory=dict[str, Any])
    _blocks: dict[int, _OpenBlock] = field(default_factory=dict[int, _OpenBlock])

    def add(self, event: StreamEvent) -> None:
        if event.message:
            self._model = event.message.model
            self._usage |= _known(event.message.usage)
        if event.content_block:
            self._blocks[event.index] = _OpenBlock(event.content_block)
        if event.type == "content_block_delta" and event.delta:
            # A delta of a block that never began says nothing; the block would be malformed.
            if block := self._blocks.get(event.index):
                block.add(event.delta)
        elif event.type == "message_delta" and event.delta:
            self._stop_reason = event.delta.stop_reason or self._stop_reason
            # Counts of the end are cumulative: they replace those of the start.
            self._usage |= _known(event.usage)
        elif event.type == "message_stop":
            self.stopped = True

    def message(self) -> MessageAnswer:
        return MessageAnswer(
            model=self._model,
            content=tuple(self._blocks[i].close() for i in sorted(self._blocks)),
            stop_reason=self._stop_reason,
            usage=self._usage,
        )


def draft(answer: MessageAnswer, *, provider: str, request_id: str | None) -> AnswerDraft:
    """The answer in our words; blocks of types we never asked for are left out."""
    parts = (_part(block, provider) for block in answer.content)
    usage = answer.usage or {}
    return AnswerDraft(
        parts=tuple(part for part in parts if part is not None),
        stop_reason=_STOPS.get(answer.stop_reason or "", StopReason.OTHER),
        model=answer.model,
        usage=Usage.model_validate(usage).normalised(),
        raw_usage=usage,
        request_id=request_id,
    )


def _part(block: Block, provider: str) -> Part | None:
    if block.type == "text":
        return TextPart(text=block.text) if block.text else None
    if block.type == "thinking":
        return ThinkingPart(text=block.thinking, signature=block.signature, provider=provider)
    if block.type == "redacted_thinking":
        return ThinkingPart(redacted=block.data, provider=provider)
    if block.type == "tool_use":
        return read_tool_call(block.id, block.name, block.input)
    return None


def _known(usage: dict[str, Any] | None) -> dict[str, Any]:
    return {k: v for k, v in (usage or {}).items() if v is not None}
