"""Anthropic's messages API.

The SDK carries requests, credentials and errors; bodies go through its generic ``post``, since
what typed ``create`` would rebuild both ways is already a validated model here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
from pydantic import BaseModel, SecretStr

from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus
from core.errors import ManusError
from core.message import ThinkingPart
from core.provider_settings import ProviderSettings
from providers.anthropic_answer import MessageAccumulator, MessageAnswer, StreamEvent, draft
from providers.anthropic_request import render_request
from providers.base import BaseProvider
from providers.error_map import Rejection, error_for
from providers.http_errors import (
    connection_failed,
    not_the_protocol,
    status_of,
    timed_out,
    transport_errors,
    without_key,
)

DEFAULT_BASE_URL = "https://api.anthropic.com"
_PATH = "/v1/messages"
_PROTOCOL = "messages"
_COUNTED = frozenset({"model", "messages", "system", "tools", "tool_choice", "output_config"})
_STATUS_TIMEOUT_SECONDS = 5.0


class _TokenCount(BaseModel):
    input_tokens: int


class AnthropicMessagesProvider(BaseProvider):
    """``settings`` must be resolved: with the key, and the base URL if it is not Anthropic's."""

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings.timeout_seconds)
        self._key = settings.api_key or SecretStr("")
        self._default_output_tokens = settings.max_output_tokens
        self._client = anthropic.AsyncAnthropic(
            api_key=self._key.get_secret_value(),
            base_url=settings.base_url or DEFAULT_BASE_URL,
            max_retries=0,
            timeout=settings.timeout_seconds,
        )

    async def get_status(self) -> ProviderStatus:
        """Lists the models, which is free of charge."""
        return await status_of(self.name, self._list_models())

    async def ask_token_count(self, request: CompletionRequest, *, model: str) -> int:
        """Asked of the service, free of charge: nothing local knows Claude's tokens."""
        body = {k: v for k, v in self._render(request, model).items() if k in _COUNTED}
        with self._mapped_errors():
            response = await self._client.post(
                f"{_PATH}/count_tokens",
                cast_to=httpx2.Response,
                body=body,
                options={"timeout": self._limit(request)},
            )
            return _TokenCount.model_validate_json(response.content).input_tokens

    async def close(self) -> None:
        await self._client.close()

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        body = self._render(request, model)
        with self._mapped_errors():
            response = await self._client.post(
                _PATH, cast_to=httpx2.Response, body=body, options={"timeout": self._limit(request)}
            )
            answer = MessageAnswer.model_validate_json(response.content)
            found = draft(answer, provider=self.name, request_id=response.headers.get("request-id"))
        return self._finish(found, model)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        body = self._render(request, model) | {"stream": True}
        gathered = MessageAccumulator()
        with self._mapped_errors():
            stream = await self._client.post(
                _PATH,
                cast_to=object,
                body=body,
                options={"timeout": self._limit(request)},
                stream=True,
                stream_cls=anthropic.AsyncStream[object],
            )
        async with stream:
            with self._mapped_errors():
                async for raw in stream:
                    event = StreamEvent.model_validate(raw)
                    gathered.add(event)
                    if event.delta and (event.delta.text or event.delta.thinking):
                        yield self._chunk(event.delta.text, event.delta.thinking)
            request_id = stream.response.headers.get("request-id")
        if gathered.stopped:
            found = draft(gathered.message(), provider=self.name, request_id=request_id)
            yield Chunk(completion=self._finish(found, model))

    def _render(self, request: CompletionRequest, model: str) -> dict[str, Any]:
        return render_request(
            request,
            model=model,
            provider=self.name,
            default_output_tokens=self._default_output_tokens,
        )

    def _chunk(self, text: str, thinking: str) -> Chunk:
        part = ThinkingPart(text=thinking, provider=self.name) if thinking else None
        return Chunk(text=text, thinking=part)

    async def _list_models(self) -> None:
        with self._mapped_errors():
            await self._client.get(
                "/v1/models",
                cast_to=httpx2.Response,
                options={"timeout": _STATUS_TIMEOUT_SECONDS},
            )

    @contextmanager
    def _mapped_errors(self) -> Generator[None]:
        """The SDK's errors, and those of its transport that it lets through, as ours."""
        with transport_errors(self.name, _PROTOCOL):
            try:
                yield
            except anthropic.APITimeoutError as error:
                raise timed_out(self.name) from error
            except anthropic.APIStatusError as error:
                raise self._rejected(error) from error
            except anthropic.APIConnectionError as error:
                raise connection_failed(self.name, error) from error
            except anthropic.APIError as error:
                raise not_the_protocol(self.name, _PROTOCOL, error) from error

    def _rejected(self, error: anthropic.APIStatusError) -> ManusError:
        message = error.api_message or error.message
        return error_for(
            Rejection(
                provider=self.name,
                status=error.status_code,
                message=without_key(message, self._key.get_secret_value()),
                codes=(error.error_code, error.type),
                request_id=error.request_id,
                headers=error.response.headers,
            )
        )
