"""What OpenAI's Responses API answers, whole or as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from core.base import JsonObject, is_object
from core.completion import StopReason, TokenUsage
from core.message import Part, TextPart, ThinkingPart
from providers.base import AnswerDraft
from providers.tool_calls import read_tool_call

ENDED = frozenset({"completed", "incomplete"})
"""The states of a response that holds an answer, which is cut where it is incomplete."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "invalid_prompt": "content_policy_violation",
        "bio_policy": "content_policy_violation",
        "misalignment_policy_violation": "content_policy_violation",
        "image_content_policy_violation": "content_policy_violation",
        "data_residency_mismatch": "permission_error",
        "vector_store_timeout": "timeout_error",
        "invalid_image": "invalid_request_error",
        "invalid_image_format": "invalid_request_error",
        "invalid_base64_image": "invalid_request_error",
        "invalid_image_url": "invalid_request_error",
        "invalid_image_mode": "invalid_request_error",
        "image_too_large": "invalid_request_error",
        "image_too_small": "invalid_request_error",
        "image_parse_error": "invalid_request_error",
        "image_file_too_large": "invalid_request_error",
        "unsupported_image_media_type": "invalid_request_error",
        "empty_image_file": "invalid_request_error",
    }
)
"""Codes of failed responses, by which of the codes in ``error_map`` they mean the same as."""


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


def _or_empty(value: Any) -> Any:
    return [] if value is None else value


Count = Annotated[int, BeforeValidator(_or_zero)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class InputDetails(_Wire):
    cached_tokens: Count = 0
    cache_write_tokens: Count = 0


class OutputDetails(_Wire):
    reasoning_tokens: Count = 0


class Usage(_Wire):
    input_tokens: Count = 0
    output_tokens: Count = 0
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None

    def normalised(self) -> TokenUsage:
        given = self.input_tokens_details or InputDetails()
        made = self.output_tokens_details or OutputDetails()
        return TokenUsage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_tokens=given.cached_tokens,
            cache_write_tokens=given.cache_write_tokens,
            reasoning_tokens=made.reasoning_tokens,
        )


class Content(_Wire):
    """A piece of a message, of a reasoning or of its summary."""

    type: str = ""
    text: str = ""
    refusal: str = ""


class Item(_Wire):
    """An item of the output. ``call_id`` is what a result answers; items have ids of their own."""

    type: str
    call_id: str | None = None
    name: str = ""
    arguments: str = ""
    content: Annotated[tuple[Content, ...], BeforeValidator(_or_empty)] = ()
    summary: Annotated[tuple[Content, ...], BeforeValidator(_or_empty)] = ()


class IncompleteDetails(_Wire):
    reason: str | None = None


class ResponseAnswer(_Wire):
    """``output`` holds items as they came, since reasoning goes back exactly so."""

    status: str | None = None
    model: str | None = None
    output: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_or_empty)] = ()
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    incomplete_details: IncompleteDetails | None = None


class StreamEvent(_Wire):
    """An event; ``code`` and ``message`` are those of the event ``error``."""

    type: str
    delta: Any = None
    output_index: int = 0
    item: dict[str, Any] | None = None
    response: ResponseAnswer | None = None
    code: str | None = None
    message: str = ""


@dataclass(slots=True)
class ResponseAccumulator:
    """Gathers the events of a stream; ``final`` is set by its terminal event."""

    final: ResponseAnswer | None = None
    _done: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])

    def add(self, event: StreamEvent) -> None:
        if event.type == "response.output_item.done" and event.item:
            self._done[event.output_index] = event.item
        if event.response and event.type.removeprefix("response.") in (*ENDED, "failed"):
            # Some servers leave the output out of the last event: they have sent it already.
            sent = tuple(self._done[i] for i in sorted(self._done))
            output = event.response.output or sent
            self.final = event.response.model_copy(update={"output": output})


def draft(answer: ResponseAnswer, *, provider: str, request_id: str | None) -> AnswerDraft:
    """The answer in our words; items of types we never asked for are left out."""
    raws = [(raw, Item.model_validate(raw)) for raw in answer.output]
    usage = answer.usage or {}
    return AnswerDraft(
        parts=tuple(part for raw, item in raws for part in _parts(raw, item, provider)),
        stop_reason=_stop_reason(answer, [item for _, item in raws]),
        model=answer.model,
        usage=Usage.model_validate(usage).normalised(),
        raw_usage=usage,
        request_id=request_id,
    )


def read_reasoning_item(part: ThinkingPart) -> JsonObject | None:
    """The reasoning item that a thinking part was made of, to be sent back as it came.

    ``None`` where the service could not read it: it keeps nothing of ours, so only what is
    encrypted counts, and the part may have been made before the provider's kind was changed.
    """
    try:
        item = json.loads(part.signature or "")
    except ValueError:
        return None
    if is_object(item) and item.get("type") == "reasoning" and item.get("encrypted_content"):
        return item
    return None


def _parts(raw: JsonObject, item: Item, provider: str) -> list[Part]:
    if item.type == "reasoning":
        text = "\n\n".join(piece.text for piece in (item.summary or item.content))
        return [ThinkingPart(text=text, signature=json.dumps(raw), provider=provider)]
    if item.type == "function_call":
        return [read_tool_call(item.call_id, item.name, item.arguments)]
    if item.type == "message":
        text = "".join(piece.text or piece.refusal for piece in item.content)
        return [TextPart(text=text)] if text else []
    return []


def _stop_reason(answer: ResponseAnswer, items: list[Item]) -> StopReason:
    if any(piece.type == "refusal" for item in items for piece in item.content):
        return StopReason.REFUSAL
    if answer.status == "incomplete":
        reason = answer.incomplete_details.reason if answer.incomplete_details else None
        cut = {"max_output_tokens": StopReason.LENGTH, "content_filter": StopReason.REFUSAL}
        return cut.get(reason or "", StopReason.OTHER)
    called = any(item.type == "function_call" for item in items)
    return StopReason.TOOL_CALLS if called else StopReason.END
