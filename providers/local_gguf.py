"""The model that needs no key: a small one, run in this process.

It can phrase a short text and fill in a shape; it cannot plan. Tools are emulated: the answer is
forced into the shape of an answer or of a call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, ClassVar

from core.base import JsonObject
from core.completion import (
    Chunk,
    Completion,
    CompletionRequest,
    ProviderStatus,
    StopReason,
    TokenUsage,
)
from core.errors import ModelNotFoundError
from core.message import ImagePart, Message, Part, TextPart, ToolCallPart, ToolResultPart
from core.provider_settings import ProviderSettings
from providers.base import AnswerDraft, BaseProvider
from providers.deployment import DEFAULT_MODELS
from providers.local_engine import LocalEngine, RawAnswer, find_weights
from providers.local_schema import answer_schema, offered_tools, read_answer
from providers.openai_answer import Usage

DEFAULT_OUTPUT_TOKENS = 1024
MAX_DESCRIPTION_CHARS = 200


class LocalGgufProvider(BaseProvider):
    """Calls wait for each other; the wait is not part of a call's timeout or latency."""

    runs_here: ClassVar[bool] = True

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings.timeout_seconds)
        limited = "max_output_tokens" in settings.model_fields_set
        self._output_tokens = settings.max_output_tokens if limited else DEFAULT_OUTPUT_TOKENS
        self._engine = LocalEngine(find_weights())
        self._turn = asyncio.Lock()

    async def generate_completion(self, request: CompletionRequest, *, model: str) -> Completion:
        async with self._turn:
            return await super().generate_completion(request, model=model)

    async def generate_stream(
        self, request: CompletionRequest, *, model: str
    ) -> AsyncGenerator[Chunk, None]:
        stream = super().generate_stream(request, model=model)
        async with self._turn, aclosing(stream):
            async for chunk in stream:
                yield chunk

    async def get_status(self) -> ProviderStatus:
        return ProviderStatus(
            name=self.name, key_present=True, reachable=True, detail="runs in this process"
        )

    async def close(self) -> None:
        self._engine.close()

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        raw = await self._engine.generate(self._render(request, model))
        return self._finish(_draft(request, raw), model)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        """Free text as it comes; an answer in JSON only as a whole, read."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        shaped = answer_schema(request) is not None
        body = self._render(request, model)
        writing = asyncio.ensure_future(
            self._engine.generate(body, None if shaped else pieces.put_nowait)
        )
        writing.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (text := await pieces.get()) is not None:
                yield Chunk(text=text)
            yield Chunk(completion=self._finish(_draft(request, await writing), model))
        finally:
            writing.cancel()

    def _render(self, request: CompletionRequest, model: str) -> JsonObject:
        if model != DEFAULT_MODELS["local"]:
            only = DEFAULT_MODELS["local"]
            message = f"{self.name}: there is no model '{model}', only '{only}'"
            raise ModelNotFoundError(message, provider=self.name)
        body: JsonObject = {
            "messages": [*_instructions(request), *(_message(m) for m in request.messages)],
            "max_tokens": request.max_output_tokens or self._output_tokens,
            "temperature": request.temperature or 0.0,
            # Left alone, a model of this size repeats its last sentence until the limit.
            "repeat_penalty": 1.1,
        }
        if schema := answer_schema(request):
            shape = {"name": "answer", "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body


def _instructions(request: CompletionRequest) -> Iterator[JsonObject]:
    """What the tools are for: the shape alone does not tell."""
    tools = offered_tools(request)
    if not tools:
        return
    lines = [f"- {t.name}: {t.description[:MAX_DESCRIPTION_CHARS]}" for t in tools]
    text = "Answer in JSON, or call one of these tools:\n" + "\n".join(lines)
    yield {"role": "system", "content": text}


def _message(message: Message) -> JsonObject:
    role = "user" if message.role == "tool" else message.role
    texts = (_text(part) for part in message.parts)
    return {"role": role, "content": "\n".join(text for text in texts if text)}


def _text(part: Part) -> str:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, ToolCallPart):
        return json.dumps({"tool": part.name, "arguments": part.arguments})
    if isinstance(part, ToolResultPart):
        return f"Result of {part.name}: {part.text}"
    if isinstance(part, ImagePart):
        return f"(an image, {part.media_type}, which this model cannot see)"
    return ""


def _draft(request: CompletionRequest, raw: RawAnswer) -> AnswerDraft:
    parts = read_answer(request, "".join(raw.pieces))
    stops: dict[str | None, Any] = {"stop": StopReason.END, "length": StopReason.LENGTH}
    called = any(isinstance(p, ToolCallPart) for p in parts)
    usage = Usage.model_validate(raw.usage).normalised() if raw.usage else TokenUsage()
    stop = StopReason.TOOL_CALLS if called else stops.get(raw.finish_reason, StopReason.OTHER)
    return AnswerDraft(
        parts=parts,
        stop_reason=stop,
        model=None,
        usage=usage,
        raw_usage=raw.usage,
        request_id=None,
    )
