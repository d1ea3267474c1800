"""One client of the openai SDK: requests, streams, and its errors as ours.

The SDK carries requests, credentials and errors. Bodies go through its generic ``post``: typed
``create`` rebuilds both ways what is already a validated model here, for twice the CPU per call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import httpx2
import openai
from pydantic import SecretStr

from core.base import JsonObject, is_object
from core.completion import ProviderStatus
from core.errors import MalformedAnswerError, ManusError
from core.provider_settings import ProviderSettings
from providers.error_map import Rejection, error_for
from providers.http_errors import (
    connection_failed,
    status_of,
    timed_out,
    transport_errors,
    without_key,
)

_STATUS_TIMEOUT_SECONDS = 5.0
# The SDK wants a key; servers that need none ignore it.
_NO_KEY = "none"
# The model wrote no valid call; asked again, it may.
_FAULTS_OF_THE_MODEL = frozenset({"tool_use_failed"})


class OpenAIConnection:
    """``protocol`` names in errors what an answer should have been."""

    def __init__(
        self, name: str, client: openai.AsyncOpenAI, key: SecretStr | None, protocol: str
    ) -> None:
        self._name = name
        self._client = client
        self._key = key.get_secret_value() if key else ""
        self._protocol = protocol

    async def post(self, path: str, body: JsonObject, timeout: float) -> httpx2.Response:
        """The whole answer; to be called, like what reads it, within ``mapped_errors``."""
        return await self._client.post(
            path, cast_to=httpx2.Response, body=body, options={"timeout": timeout}
        )

    @asynccontextmanager
    async def stream(
        self, path: str, body: JsonObject, timeout: float
    ) -> AsyncGenerator[openai.AsyncStream[object]]:
        """The events of an answer; reading them belongs within ``mapped_errors``."""
        with self.mapped_errors():
            stream = await self._client.post(
                path,
                cast_to=object,
                body=body,
                options={"timeout": timeout},
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
        async with stream:
            yield stream

    async def check(self) -> ProviderStatus:
        """Lists the models, which every compatible endpoint serves free of charge."""
        return await status_of(self._name, self._list_models())

    async def close(self) -> None:
        await self._client.close()

    @contextmanager
    def mapped_errors(self) -> Generator[None]:
        """The SDK's errors, and those of its transport that it lets through, as ours."""
        with transport_errors(self._name, self._protocol):
            try:
                yield
            except openai.APITimeoutError as error:
                raise timed_out(self._name) from error
            except openai.APIStatusError as error:
                raise self._rejected(error) from error
            except openai.APIConnectionError as error:
                raise connection_failed(self._name, error) from error
            except openai.APIError as error:
                body = error.body if is_object(error.body) else {}
                raise self.error_in_answer({**body, "message": error.message}, None) from error

    def error_in_answer(
        self, error: JsonObject, request_id: str | None, *codes: str | None
    ) -> ManusError:
        """The failure that came as an answer: with status 200, or inside a stream.

        ``codes`` are other names of the error's own code. Gateways say the status of whom they
        asked, in ``code`` or in ``status_code``.
        """
        said = (error.get("code"), error.get("status_code"))
        status = next((s for s in said if isinstance(s, int) and 400 <= s < 600), 200)
        known = (_text(error.get("code")), *codes, _text(error.get("type")))
        text = without_key(str(error.get("message", error)), self._key)
        return _error_for(Rejection(self._name, status, text, known, request_id))

    def _rejected(self, error: openai.APIStatusError) -> ManusError:
        return _error_for(
            Rejection(
                provider=self._name,
                status=error.status_code,
                message=without_key(error.message, self._key),
                codes=(_text(error.code), _text(error.type)),
                request_id=error.request_id,
                headers=error.response.headers,
            )
        )

    async def _list_models(self) -> None:
        options: openai.RequestOptions = {"timeout": _STATUS_TIMEOUT_SECONDS}
        with self.mapped_errors():
            await self._client.get("/models", cast_to=httpx2.Response, options=options)


def connect(name: str, settings: ProviderSettings, protocol: str) -> OpenAIConnection:
    """A connection to OpenAI or to whoever answers at the settings' base URL."""
    client = openai.AsyncOpenAI(
        api_key=settings.api_key.get_secret_value() if settings.api_key else _NO_KEY,
        base_url=settings.base_url,
        max_retries=0,
        timeout=settings.timeout_seconds,
    )
    return OpenAIConnection(name, client, settings.api_key, protocol)


def _error_for(rejection: Rejection) -> ManusError:
    error = error_for(rejection)
    if _FAULTS_OF_THE_MODEL.isdisjoint(code for code in rejection.codes if code):
        return error
    return MalformedAnswerError(error.message, **error.details)


def _text(code: object) -> str | None:
    return None if code is None else str(code)
