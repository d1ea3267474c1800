"""OpenAI chat completions, from OpenAI or from any compatible endpoint.

The SDK carries requests, credentials and errors. Bodies go through its generic ``post``: typed
``create`` rebuilds both ways what is already a validated model here, for twice the CPU per call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
from pydantic import SecretStr

from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus
from core.errors import (
    MalformedAnswerError,
    ManusError,
    ProviderConnectionError,
    ProviderTimeoutError,
)
from core.message import ThinkingPart
from core.settings import ProviderSettings
from providers.base import BaseProvider
from providers.error_map import Rejection, error_for
from providers.openai_answer import ChatAccumulator, ChatAnswer
from providers.openai_request import render_request

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_PATH = "/chat/completions"
_STATUS_TIMEOUT_SECONDS = 5.0


class OpenAIChatProvider(BaseProvider):
    """``settings`` must be resolved: with the key, and the base URL if it is not OpenAI's."""

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings.timeout_seconds)
        self._key = settings.api_key or SecretStr("")
        # OpenAI bounds its own answers; a limit is sent where somebody asked for one.
        limited = "max_output_tokens" in settings.model_fields_set
        self._default_output_tokens = settings.max_output_tokens if limited else None
        self._client = openai.AsyncOpenAI(
            api_key=self._key.get_secret_value(),
            base_url=settings.base_url or DEFAULT_BASE_URL,
            max_retries=0,
            timeout=settings.timeout_seconds,
        )

    async def get_status(self) -> ProviderStatus:
        """Lists the models, which every compatible endpoint serves free of charge."""
        try:
            with self._mapped_errors():
                await self._client.get(
                    "/models",
                    cast_to=httpx2.Response,
                    options={"timeout": _STATUS_TIMEOUT_SECONDS},
                )
        except (ProviderConnectionError, ProviderTimeoutError) as error:
            return self._status(reachable=False, detail=str(error))
        except ManusError as error:
            return self._status(reachable=True, detail=str(error))
        return self._status(reachable=True, detail="")

    async def close(self) -> None:
        await self._client.close()

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        body = self._render(request, model)
        with self._mapped_errors():
            response = await self._client.post(
                _PATH, cast_to=httpx2.Response, body=body, options={"timeout": self._limit(request)}
            )
            answer = ChatAnswer.model_validate_json(response.content)
            request_id = response.headers.get("x-request-id")
            draft = self._gather(answer, request_id).draft(request_id)
        return self._finish(draft, model)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        body = self._render(request, model)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        gathered = ChatAccumulator(self.name)
        with self._mapped_errors():
            stream = await self._client.post(
                _PATH,
                cast_to=object,
                body=body,
                options={"timeout": self._limit(request)},
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
        async with stream:
            with self._mapped_errors():
                async for event in stream:
                    added = gathered.add(ChatAnswer.model_validate(event))
                    if added and (added.content or added.thinking):
                        yield self._chunk(added.content, added.thinking)
            request_id = stream.response.headers.get("x-request-id")
        if gathered.finish_reason is not None:
            yield Chunk(completion=self._finish(gathered.draft(request_id), model))

    def _render(self, request: CompletionRequest, model: str) -> dict[str, Any]:
        return render_request(
            request,
            model=model,
            provider=self.name,
            default_output_tokens=self._default_output_tokens,
        )

    def _gather(self, answer: ChatAnswer, request_id: str | None) -> ChatAccumulator:
        if answer.error is not None:
            raise self._error_in_answer(answer.error, request_id)
        if not answer.choices:
            message = f"{self.name}: the answer has no choice"
            raise MalformedAnswerError(message, provider=self.name, request_id=request_id)
        gathered = ChatAccumulator(self.name)
        gathered.add(answer)
        return gathered

    def _error_in_answer(self, error: dict[str, Any], request_id: str | None) -> ManusError:
        code = error.get("code")
        status = code if isinstance(code, int) else 200
        codes = (str(code), str(error.get("type")))
        text = self._redacted(str(error.get("message", error)))
        return error_for(Rejection(self.name, status, text, codes, request_id))

    def _chunk(self, text: str | None, thinking: str) -> Chunk:
        part = ThinkingPart(text=thinking, provider=self.name) if thinking else None
        return Chunk(text=text or "", thinking=part)

    def _status(self, *, reachable: bool, detail: str) -> ProviderStatus:
        return ProviderStatus(name=self.name, key_present=True, reachable=reachable, detail=detail)

    @contextmanager
    def _mapped_errors(self) -> Generator[None]:
        """The SDK's errors, and those of its transport that it lets through, as ours."""
        try:
            yield
        except openai.APITimeoutError as error:
            raise ProviderTimeoutError(f"{self.name}: timed out", provider=self.name) from error
        except openai.APIStatusError as error:
            raise self._rejected(error) from error
        except httpx2.TimeoutException as error:
            raise ProviderTimeoutError(f"{self.name}: timed out", provider=self.name) from error
        except (openai.APIConnectionError, httpx2.HTTPError, httpx2.StreamError) as error:
            cause = error.__cause__ or error
            message = f"{self.name}: connection failed ({type(cause).__name__})"
            raise ProviderConnectionError(message, provider=self.name) from error
        except openai.APIError as error:
            codes = (error.code, error.type)
            text = self._redacted(error.message)
            raise error_for(Rejection(self.name, 200, text, codes)) from error
        except ValueError as error:
            # Invalid JSON, invalid UTF-8, or JSON of another shape.
            message = f"{self.name}: the answer is not chat completions ({type(error).__name__})"
            raise MalformedAnswerError(message, provider=self.name) from error

    def _rejected(self, error: openai.APIStatusError) -> ManusError:
        return error_for(
            Rejection(
                provider=self.name,
                status=error.status_code,
                message=self._redacted(error.message),
                codes=(error.code, error.type),
                request_id=error.request_id,
                headers=error.response.headers,
            )
        )

    def _redacted(self, message: str) -> str:
        """Without the key, which some servers quote back."""
        key = self._key.get_secret_value()
        return message.replace(key, "***") if key else message
