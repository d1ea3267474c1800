"""Statuses, codes and waits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.errors import (
    ContextOverflowError,
    ManusError,
    OverloadedError,
    ProviderRejectedError,
    RateLimitedError,
)
from providers.error_map import MAX_MESSAGE_CHARS, Rejection, error_for, retry_after_seconds

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_the_wait_a_provider_asks_for_is_read(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_seconds(headers, NOON) == seconds


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "context_length_exceeded", ContextOverflowError),
        (400, "rate_limit_error", ProviderRejectedError),
        (429, "api_error", RateLimitedError),
        (500, "model_not_found", OverloadedError),
        (418, None, ProviderRejectedError),
        (200, "rate_limit_error", RateLimitedError),
    ],
)
def test_a_code_adds_to_the_status_and_never_hides_it(
    status: int, code: str | None, error: type[ManusError]
) -> None:
    assert type(error_for(Rejection("p", status, "no", (code,)))) is error


def test_a_message_is_one_short_line() -> None:
    error = error_for(Rejection("p", 500, "a\n b " * 1000))
    assert "\n" not in str(error)
    assert len(str(error)) < MAX_MESSAGE_CHARS + 20
