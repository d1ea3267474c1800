"""A provider's refusal as one of our errors, by status and the provider's own code.

Messages are carried for readers and never looked at: their wording changes without notice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType

from core.errors import (
    AuthenticationError,
    ContentRefusedError,
    ContextOverflowError,
    MalformedAnswerError,
    ManusError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderConnectionError,
    ProviderRejectedError,
    ProviderTimeoutError,
    RateLimitedError,
)

MAX_MESSAGE_CHARS = 300

_BY_STATUS: Mapping[int, type[ManusError]] = MappingProxyType(
    {
        401: AuthenticationError,
        402: PermissionDeniedError,
        403: PermissionDeniedError,
        404: ModelNotFoundError,
        408: ProviderTimeoutError,
        429: RateLimitedError,
        499: ProviderConnectionError,
    }
)
"""Other 4xx are ProviderRejectedError, every 5xx is OverloadedError."""

_BY_CODE: Mapping[str, type[ManusError]] = MappingProxyType(
    {
        # A spent budget is sent as 429, but waiting does not refill it.
        "insufficient_quota": PermissionDeniedError,
        "billing_hard_limit_reached": PermissionDeniedError,
        "context_length_exceeded": ContextOverflowError,
        "exceed_context_size_error": ContextOverflowError,
        "content_filter": ContentRefusedError,
        "content_policy_violation": ContentRefusedError,
        "model_not_found": ModelNotFoundError,
    }
)
"""Codes that say more than the status they come with (400, 429)."""

_IN_STREAM: Mapping[str, type[ManusError]] = MappingProxyType(
    {
        "billing_error": PermissionDeniedError,
        "invalid_request_error": ProviderRejectedError,
        "request_too_large": ProviderRejectedError,
        "authentication_error": AuthenticationError,
        "permission_error": PermissionDeniedError,
        "not_found_error": ModelNotFoundError,
        "rate_limit_error": RateLimitedError,
        "rate_limit_exceeded": RateLimitedError,
        "timeout_error": ProviderTimeoutError,
        "api_error": OverloadedError,
        "server_error": OverloadedError,
        "overloaded_error": OverloadedError,
    }
)
"""The kinds of errors, which only count in mid-stream, where the status was 200 long ago."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An error answer. ``status`` is 200 for an error sent inside a stream.

    ``codes`` are the provider's, the most specific first.
    """

    provider: str
    status: int
    message: str
    codes: tuple[str | None, ...] = ()
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def error_for(rejection: Rejection) -> ManusError:
    """The error of ``core.errors`` that a rejection means; details carry what was known."""
    details = {
        "provider": rejection.provider,
        "status": rejection.status,
        "code": next((c for c in rejection.codes if c), None),
        "request_id": rejection.request_id,
        "retry_after_seconds": retry_after_seconds(rejection.headers),
    }
    message = " ".join(rejection.message.split())[:MAX_MESSAGE_CHARS]
    text = f"{rejection.provider}: {rejection.status} {message}"
    return _class_of(rejection)(text, **{k: v for k, v in details.items() if v is not None})


def _class_of(rejection: Rejection) -> type[ManusError]:
    status = rejection.status
    codes = [code for code in rejection.codes if code]
    known = next((_BY_CODE[c] for c in codes if c in _BY_CODE), None)
    if known is not None and status < 500:
        return known
    if status < 300:
        return next((_IN_STREAM[c] for c in codes if c in _IN_STREAM), OverloadedError)
    if status < 400:
        return MalformedAnswerError
    rest = OverloadedError if status >= 500 else ProviderRejectedError
    return _BY_STATUS.get(status, rest)


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The wait a provider asks for: ``retry-after-ms``, or ``Retry-After`` in seconds or a date.

    ``headers`` must look names up without regard to case. ``None`` where it asks for nothing that
    can be read; a date in the past is 0.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    return seconds if seconds is not None or not value else _seconds_until(value, now)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _seconds_until(text: str, now: datetime | None) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
