"""What Gemini's own API answers, whole or as the events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from core.base import JsonObject, Value
from core.completion import StopReason, TokenUsage
from core.errors import MalformedAnswerError
from core.message import Part, TextPart, ThinkingPart, ToolCallPart
from providers.base import AnswerDraft
from providers.tool_calls import read_tool_call

_STOPS: Mapping[str, StopReason] = MappingProxyType(
    {
        "STOP": StopReason.END,
        "MAX_TOKENS": StopReason.LENGTH,
        "SAFETY": StopReason.REFUSAL,
        "RECITATION": StopReason.REFUSAL,
        "LANGUAGE": StopReason.REFUSAL,
        "BLOCKLIST": StopReason.REFUSAL,
        "PROHIBITED_CONTENT": StopReason.REFUSAL,
        "SPII": StopReason.REFUSAL,
        "MODEL_ARMOR": StopReason.REFUSAL,
        "IMAGE_SAFETY": StopReason.REFUSAL,
    }
)
_FAULTS_OF_THE_MODEL = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"}
)
"""It wrote no valid call; asked again, it may."""


class TurnSignatures(Value):
    """What proves that a turn is Gemini's: of its calls by their ids, and of its text.

    It travels as the signature of the turn's thinking part.
    """

    calls: dict[str, str] = Field(default_factory=dict)
    text: str | None = None

    def write(self) -> str | None:
        """As the signature of a thinking part; ``None`` where there is nothing to keep."""
        if not self.calls and self.text is None:
            return None
        return self.model_dump_json(exclude_defaults=True)


class _Wire(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True
    )


class FunctionCall(_Wire):
    id: str | None = None
    name: str = ""
    args: Any = None


class AnswerPart(_Wire):
    """One part; those of tools that the service runs itself say nothing here."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class Content(_Wire):
    parts: tuple[AnswerPart, ...] = ()


class Candidate(_Wire):
    content: Content = Content()
    finish_reason: str | None = None
    finish_message: str | None = None


class PromptFeedback(_Wire):
    block_reason: str | None = None


class Usage(_Wire):
    prompt_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0

    def normalised(self) -> TokenUsage:
        """With the thoughts, which the wire counts apart, inside the output."""
        return TokenUsage(
            input_tokens=self.prompt_token_count + self.tool_use_prompt_token_count,
            output_tokens=self.candidates_token_count + self.thoughts_token_count,
            cache_read_tokens=self.cached_content_token_count,
            reasoning_tokens=self.thoughts_token_count,
        )


class GeminiAnswer(_Wire):
    """An answer, or an event of a stream; ``error`` is sent inside a stream."""

    candidates: tuple[Candidate, ...] = ()
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: dict[str, Any] | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: JsonObject | None = None


@dataclass(slots=True)
class GeminiAccumulator:
    """Gathers an answer from one body or from the events of a stream."""

    provider: str
    finish_reason: str | None = None
    blocked: bool = False
    _finish_message: str = ""
    _text: list[str] = field(default_factory=list[str])
    _thinking: list[str] = field(default_factory=list[str])
    _calls: list[ToolCallPart] = field(default_factory=list[ToolCallPart])
    _call_signatures: dict[str, str] = field(default_factory=dict[str, str])
    _text_signature: str | None = None
    _model: str | None = None
    _request_id: str | None = None
    _usage: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def over(self) -> bool:
        """Whether the terminal marker was seen: a finish reason, or that the prompt is blocked."""
        return self.finish_reason is not None or self.blocked

    def add(self, answer: GeminiAnswer) -> tuple[str, str]:
        """Takes one body or event in; returns the text and the thinking that it adds."""
        self._model = answer.model_version or self._model
        self._request_id = answer.response_id or self._request_id
        # Each event counts all there was so far.
        self._usage = answer.usage_metadata or self._usage
        if answer.prompt_feedback and answer.prompt_feedback.block_reason:
            self.blocked = True
        if not answer.candidates:
            return "", ""
        candidate = answer.candidates[0]
        self.finish_reason = candidate.finish_reason or self.finish_reason
        self._finish_message = candidate.finish_message or self._finish_message
        said, thought = len(self._text), len(self._thinking)
        for part in candidate.content.parts:
            self._add_part(part)
        return "".join(self._text[said:]), "".join(self._thinking[thought:])

    def draft(self) -> AnswerDraft:
        """Raises MalformedAnswerError where the model wrote no valid call."""
        if self.finish_reason in _FAULTS_OF_THE_MODEL:
            message = f"{self.provider}: {self.finish_reason} {self._finish_message}".strip()
            raise MalformedAnswerError(message, provider=self.provider, code=self.finish_reason)
        return AnswerDraft(
            parts=self._parts(),
            stop_reason=self._stop_reason(),
            model=self._model,
            usage=Usage.model_validate(self._usage).normalised(),
            raw_usage=self._usage,
            request_id=self._request_id,
        )

    def _add_part(self, part: AnswerPart) -> None:
        if part.function_call:
            wire = part.function_call
            call = read_tool_call(wire.id, wire.name, wire.args)
            self._calls.append(call)
            if part.thought_signature:
                self._call_signatures[call.id] = part.thought_signature
            return
        if part.text:
            (self._thinking if part.thought else self._text).append(part.text)
        self._text_signature = part.thought_signature or self._text_signature

    def _parts(self) -> tuple[Part, ...]:
        parts: list[Part] = []
        signed = TurnSignatures(calls=self._call_signatures, text=self._text_signature).write()
        thinking = "".join(self._thinking)
        if thinking or signed:
            parts.append(ThinkingPart(text=thinking, signature=signed, provider=self.provider))
        if text := "".join(self._text):
            parts.append(TextPart(text=text))
        return (*parts, *self._calls)

    def _stop_reason(self) -> StopReason:
        stop = _STOPS.get(self.finish_reason or "", StopReason.OTHER)
        if self.blocked:
            return StopReason.REFUSAL
        # It says STOP after calls as well.
        return StopReason.TOOL_CALLS if self._calls and stop is StopReason.END else stop
