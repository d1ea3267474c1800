"""What Bedrock's Converse operations answer, whole or as the events of a stream."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from core.completion import StopReason, TokenUsage
from core.errors import MalformedAnswerError
from core.message import Part, TextPart, ThinkingPart, ToolCallPart
from providers.base import AnswerDraft
from providers.bedrock_request import OUTPUT_TOOL
from providers.tool_calls import read_tool_call

_STOPS: Mapping[str, StopReason] = MappingProxyType(
    {
        "end_turn": StopReason.END,
        "stop_sequence": StopReason.END,
        "tool_use": StopReason.TOOL_CALLS,
        "max_tokens": StopReason.LENGTH,
        "model_context_window_exceeded": StopReason.LENGTH,
        "guardrail_intervened": StopReason.REFUSAL,
        "content_filtered": StopReason.REFUSAL,
    }
)
_UNREADABLE = ("malformed_tool_use", "malformed_model_output")


class _Wire(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class ReasoningText(_Wire):
    text: str = ""
    signature: str | None = None


class Reasoning(_Wire):
    """A block has ``reasoning_text`` or ``redacted_content``, a delta one of the others."""

    reasoning_text: ReasoningText | None = None
    redacted_content: bytes | None = None
    text: str = ""
    signature: str = ""


class ToolUse(_Wire):
    """``type`` tells what the service runs itself; our tools have another or none.

    A delta has ``input`` alone.
    """

    tool_use_id: str | None = None
    name: str = ""
    input: Any = None
    type: str | None = None


class Block(_Wire):
    """A content block, the start or a delta of one; kinds we never asked for are all empty."""

    text: str = ""
    reasoning_content: Reasoning | None = None
    tool_use: ToolUse | None = None


class Usage(_Wire):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0

    def normalised(self) -> TokenUsage:
        """With the tokens of the cache, which the wire counts apart, inside the input."""
        cached = self.cache_read_input_tokens + self.cache_write_input_tokens
        return TokenUsage(
            input_tokens=self.input_tokens + cached,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read_input_tokens,
            cache_write_tokens=self.cache_write_input_tokens,
        )


class Message(_Wire):
    content: tuple[Block, ...] = ()


class Output(_Wire):
    message: Message


class ConverseAnswer(_Wire):
    output: Output
    stop_reason: str
    usage: dict[str, Any]


class BlockEvent(_Wire):
    content_block_index: int = 0
    start: Block | None = None
    delta: Block | None = None


class StopEvent(_Wire):
    stop_reason: str


class MetadataEvent(_Wire):
    usage: dict[str, Any]


class StreamEvent(_Wire):
    content_block_start: BlockEvent | None = None
    content_block_delta: BlockEvent | None = None
    message_stop: StopEvent | None = None
    metadata: MetadataEvent | None = None


@dataclass(slots=True)
class _OpenBlock:
    """``tool`` is what only a tool's block begins with; others begin with their first delta."""

    tool: ToolUse | None = None
    text: list[str] = field(default_factory=list[str])
    thinking: list[Reasoning] = field(default_factory=list[Reasoning])

    def add(self, delta: Block) -> None:
        self.text.append(delta.text)
        if delta.tool_use:
            self.text.append(str(delta.tool_use.input or ""))
        if delta.reasoning_content:
            self.thinking.append(delta.reasoning_content)

    def close(self) -> Block:
        text = "".join(self.text)
        if self.tool:
            return Block(tool_use=self.tool.model_copy(update={"input": text}))
        if not self.thinking:
            return Block(text=text)
        hidden = b"".join(t.redacted_content or b"" for t in self.thinking)
        if hidden:
            return Block(reasoning_content=Reasoning(redacted_content=hidden))
        said = "".join(t.text for t in self.thinking)
        signature = "".join(t.signature for t in self.thinking)
        signed = ReasoningText(text=said, signature=signature or None)
        return Block(reasoning_content=Reasoning(reasoning_text=signed))


@dataclass(slots=True)
class ConverseAccumulator:
    """Gathers the events of a stream into the answer that they describe.

    ``stop_reason`` is set by the terminal marker; the usage comes after it.
    """

    stop_reason: str | None = None
    _usage: dict[str, Any] = field(default_factory=dict[str, Any])
    _blocks: dict[int, _OpenBlock] = field(default_factory=dict[int, _OpenBlock])

    def add(self, event: StreamEvent) -> None:
        if (begun := event.content_block_start) and begun.start:
            self._blocks[begun.content_block_index] = _OpenBlock(tool=begun.start.tool_use)
        if (more := event.content_block_delta) and more.delta:
            self._blocks.setdefault(more.content_block_index, _OpenBlock()).add(more.delta)
        if event.message_stop:
            self.stop_reason = event.message_stop.stop_reason
        if event.metadata:
            self._usage = event.metadata.usage

    def is_output(self, event: BlockEvent) -> bool:
        """Whether a delta belongs to the tool that stands for an output schema."""
        block = self._blocks.get(event.content_block_index)
        return bool(block and block.tool and block.tool.name == OUTPUT_TOOL)

    def answer(self) -> ConverseAnswer:
        content = tuple(self._blocks[i].close() for i in sorted(self._blocks))
        output = Output(message=Message(content=content))
        return ConverseAnswer(output=output, stop_reason=self.stop_reason or "", usage=self._usage)


def draft(
    answer: ConverseAnswer, *, provider: str, request_id: str | None, output_tool: bool
) -> AnswerDraft:
    """The answer in our words; blocks of kinds we never asked for are left out.

    Raises:
        MalformedAnswerError: the service could not read what its model wrote.
    """
    if answer.stop_reason in _UNREADABLE:
        details = {"provider": provider, "request_id": request_id}
        raise MalformedAnswerError(f"{provider}: {answer.stop_reason}", **details)
    found = (_part(block, provider) for block in answer.output.message.content)
    parts = tuple(part for part in found if part is not None)
    stop = _STOPS.get(answer.stop_reason, StopReason.OTHER)
    if output_tool:
        parts, stop = _with_output(answer, parts, stop)
    return AnswerDraft(
        parts=parts,
        stop_reason=stop,
        model=None,
        usage=Usage.model_validate(answer.usage).normalised(),
        raw_usage=answer.usage,
        request_id=request_id,
    )


def _part(block: Block, provider: str) -> Part | None:
    if block.tool_use:
        use = block.tool_use
        if use.type == "server_tool_use":
            return None
        return read_tool_call(use.tool_use_id, use.name, use.input)
    if (reasoning := block.reasoning_content) is None:
        return TextPart(text=block.text) if block.text else None
    if reasoning.redacted_content is not None:
        opaque = base64.b64encode(reasoning.redacted_content).decode()
        return ThinkingPart(redacted=opaque, provider=provider)
    said = reasoning.reasoning_text or ReasoningText()
    return ThinkingPart(text=said.text, signature=said.signature, provider=provider)


def _with_output(
    answer: ConverseAnswer, parts: tuple[Part, ...], stop: StopReason
) -> tuple[tuple[Part, ...], StopReason]:
    """The call of the output tool as the text it stands for, in place of any chatter around it."""
    uses = (block.tool_use for block in answer.output.message.content)
    given = next((use.input for use in uses if use and use.name == OUTPUT_TOOL), None)
    if given is None:
        return parts, stop
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    rest = tuple(p for p in parts if isinstance(p, (ThinkingPart, ToolCallPart)))
    rest = tuple(p for p in rest if not (isinstance(p, ToolCallPart) and p.name == OUTPUT_TOOL))
    if stop is StopReason.TOOL_CALLS and not any(isinstance(p, ToolCallPart) for p in rest):
        stop = StopReason.END
    return (*rest, TextPart(text=text)), stop
