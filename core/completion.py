"""What is asked of a model and what comes back, the same for every provider."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field

from core.base import JsonObject, Value
from core.message import Message, Part, TextPart, ThinkingPart, ToolCallPart


class ToolDefinition(Value):
    """A tool as the model sees it. ``parameters`` is a JSON schema of type object."""

    name: str
    description: str
    parameters: JsonObject

    @cached_property
    def as_json(self) -> str:
        """Kept, because every request is measured with all its tools, and they do not change."""
        return json.dumps(self.model_dump(), ensure_ascii=False)


class ToolChoice(Value):
    """Whether the model may, must or must not call tools; ``named`` forces the tool ``name``."""

    mode: Literal["auto", "required", "none", "named"] = "auto"
    name: str | None = None


class CompletionRequest(Value):
    """One call to a model, before it is known which provider answers it.

    ``route`` names a route of the configuration. ``output_schema`` asks for one JSON object that
    fits the schema. ``timeout_seconds`` bounds one try at one deployment.

    ``cache_ttl_seconds`` overrides the route's: how old an answer of the response cache may be, 0
    for none and none kept. ``cache_refresh`` asks anew and replaces what is kept. Neither is part
    of what is asked, so neither is in the request's JSON or fingerprint.
    """

    messages: tuple[Message, ...]
    route: str = "default"
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    output_schema: JsonObject | None = None
    max_output_tokens: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    timeout_seconds: float = Field(default=120.0, gt=0)
    cache_ttl_seconds: float | None = Field(default=None, ge=0, exclude=True)
    cache_refresh: bool = Field(default=False, exclude=True)


class StopReason(StrEnum):
    """Why the model stopped. ``length`` means the answer is cut."""

    END = "end"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    REFUSAL = "refusal"
    OTHER = "other"


class TokenUsage(Value):
    """Tokens of one call. ``input_tokens`` includes cache reads and writes, for every provider."""

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: TokenUsage) -> TokenUsage:
        names = type(self).model_fields
        return TokenUsage(**{n: getattr(self, n) + getattr(other, n) for n in names})


CostSource = Literal["genai-prices", "override", "local", "unknown"]
"""Where a price is from: the published lists, the configuration, or a model that costs nothing."""


class Completion(Value):
    """One answer. ``cost_usd`` is ``None`` where the price is unknown: never a guess, never 0.

    ``latency_seconds`` is from request to whole answer, ``time_to_first_token_seconds`` only for
    streams. ``raw_usage`` is the provider's own usage object. ``cache_hit`` marks an answer of the
    response cache: its usage and cost are those of the call that it spared. ``cost_source`` and
    ``price_version`` say where the price is from; ``try_index`` counts the tries begun before the
    one that answered.
    """

    parts: tuple[Part, ...]
    stop_reason: StopReason
    provider: str
    deployment: str
    model: str
    usage: TokenUsage = TokenUsage()
    cost_usd: Decimal | None = None
    cost_source: CostSource = "unknown"
    price_version: str | None = None
    latency_seconds: float = 0.0
    time_to_first_token_seconds: float | None = None
    request_id: str | None = None
    raw_usage: JsonObject = Field(default_factory=dict)
    cache_hit: bool = False
    try_index: int = 0

    @property
    def text(self) -> str:
        return "".join(p.text for p in self.parts if isinstance(p, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        return tuple(p for p in self.parts if isinstance(p, ToolCallPart))

    def to_message(self) -> Message:
        return Message(role="assistant", parts=self.parts)


class Chunk(Value):
    """A piece of a streamed answer; the last one alone carries ``completion``."""

    text: str = ""
    thinking: ThinkingPart | None = None
    completion: Completion | None = None


class ProviderStatus(Value):
    """What is known of a provider without spending anything."""

    name: str
    key_present: bool
    reachable: bool | None = None
    detail: str = ""
