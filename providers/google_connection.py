"""Gemini's own API over HTTP: requests, server-sent events, and its errors as ours."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import cast

import httpx2
from pydantic import SecretStr, TypeAdapter

from core.base import JsonObject, is_object
from core.errors import AuthenticationError, ManusError, PermissionDeniedError
from core.provider_settings import ProviderSettings
from providers.error_map import Rejection, error_for
from providers.http_errors import transport_errors, without_key

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
PROTOCOL = "Gemini's"
_VERSION = "/v1beta"
_OBJECT = TypeAdapter(JsonObject)

_BY_REASON: Mapping[str, type[ManusError]] = MappingProxyType(
    {
        # All of them are 400.
        "API_KEY_INVALID": AuthenticationError,
        "API_KEY_EXPIRED": AuthenticationError,
        "FAILED_PRECONDITION": PermissionDeniedError,
    }
)
_STATUS_OF: Mapping[str, int] = MappingProxyType(
    {
        "INVALID_ARGUMENT": 400,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        "NOT_FOUND": 404,
        "RESOURCE_EXHAUSTED": 429,
        "CANCELLED": 499,
        "INTERNAL": 500,
        "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }
)


class GoogleConnection:
    """The key goes into a header, never into an address, which logs and proxies keep."""

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        self._name = name
        self._key = (settings.api_key or SecretStr("")).get_secret_value()
        base = (settings.base_url or DEFAULT_BASE_URL).rstrip("/")
        self._client = httpx2.AsyncClient(
            base_url=base if re.search(r"/v\d\w*$", base) else base + _VERSION,
            headers={"x-goog-api-key": self._key},
            timeout=settings.timeout_seconds,
        )

    async def get(self, path: str, timeout: float) -> bytes:
        return await self._whole(self._client.build_request("GET", path, timeout=timeout))

    async def post(self, path: str, body: JsonObject, timeout: float) -> bytes:
        """The whole answer; to be called, like what reads it, within ``mapped_errors``."""
        return await self._whole(
            self._client.build_request("POST", path, json=body, timeout=timeout)
        )

    @asynccontextmanager
    async def stream(
        self, path: str, body: JsonObject, timeout: float
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The data of each event; reading them belongs within ``mapped_errors``."""
        request = self._client.build_request(
            "POST", path, params={"alt": "sse"}, json=body, timeout=timeout
        )
        with self.mapped_errors():
            response = await self._client.send(request, stream=True)
        try:
            if not response.is_success:
                with self.mapped_errors():
                    await response.aread()
                raise self._rejected(response)
            yield _events(response.aiter_bytes())
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()

    @contextmanager
    def mapped_errors(self) -> Generator[None]:
        with transport_errors(self._name, PROTOCOL):
            yield

    def error_of(
        self, error: JsonObject, status: int, headers: Mapping[str, str] | None = None
    ) -> ManusError:
        """What an error object means; ``status`` is 200 where it came inside a stream."""
        word = str(error.get("status") or "")
        reason, wait = _details(error)
        said = error.get("code")
        if status == 200:
            known = _STATUS_OF.get(word, 200)
            status = said if isinstance(said, int) and 400 <= said < 600 else known
        headers = dict(headers or {})
        if wait is not None and "retry-after" not in headers:
            headers["retry-after"] = str(wait)
        found = error_for(
            Rejection(
                provider=self._name,
                status=status,
                message=without_key(str(error.get("message", error)), self._key),
                codes=(reason, word or None),
                request_id=headers.get("x-request-id"),
                headers=headers,
            )
        )
        kind = _BY_REASON.get(reason or "") or (_BY_REASON.get(word) if status == 400 else None)
        return kind(found.message, **found.details) if kind else found

    async def _whole(self, request: httpx2.Request) -> bytes:
        response = await self._client.send(request)
        if not response.is_success:
            raise self._rejected(response)
        return response.content

    def _rejected(self, response: httpx2.Response) -> ManusError:
        error: JsonObject = {"message": response.reason_phrase}
        try:
            body = _OBJECT.validate_json(response.content)
        except ValueError:
            # A page of some proxy: the status says enough.
            body = {}
        if is_object(body.get("error")):
            error = body["error"]
        headers = {name.lower(): value for name, value in response.headers.items()}
        return self.error_of(error, response.status_code, headers)


def _details(error: JsonObject) -> tuple[str | None, float | None]:
    """The reason, and the seconds to wait, that an error object's details say."""
    listed: object = error.get("details")
    details = cast("list[object]", listed) if isinstance(listed, list) else []
    objects = [d for d in details if is_object(d)]
    reason = next((str(d["reason"]) for d in objects if "reason" in d), None)
    delays = (str(d["retryDelay"]).removesuffix("s") for d in objects if "retryDelay" in d)
    numbers = (float(d) for d in delays if re.fullmatch(r"\d+(\.\d+)?", d))
    return reason, next((n for n in numbers if math.isfinite(n)), None)


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of server-sent events, however their bytes are cut.

    Lines end at line feeds only: JSON may hold what else Python takes for the end of a line.
    """
    buffer, data = b"", list[bytes]()
    async for piece in pieces:
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line.removeprefix(b"data:").strip())
            elif not line and data:
                yield b"\n".join(data)
                data = []
