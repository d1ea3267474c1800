"""What goes wrong below every protocol over HTTP, as our errors."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import contextmanager

import httpx2

from core.completion import ProviderStatus
from core.errors import (
    MalformedAnswerError,
    ManusError,
    ProviderConnectionError,
    ProviderTimeoutError,
)


@contextmanager
def transport_errors(provider: str, protocol: str) -> Generator[None]:
    """What the HTTP client raises, also through an SDK, and what reading an answer raises.

    ``protocol`` names in errors what an answer should have been.
    """
    try:
        yield
    except httpx2.TimeoutException as error:
        raise timed_out(provider) from error
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise connection_failed(provider, error) from error
    except ValueError as error:
        # Invalid JSON, invalid UTF-8, or JSON of another shape.
        raise not_the_protocol(provider, protocol, error) from error


def timed_out(provider: str) -> ProviderTimeoutError:
    return ProviderTimeoutError(f"{provider}: timed out", provider=provider)


def connection_failed(provider: str, error: Exception) -> ProviderConnectionError:
    cause = error.__cause__ or error
    message = f"{provider}: connection failed ({type(cause).__name__})"
    return ProviderConnectionError(message, provider=provider)


def not_the_protocol(provider: str, protocol: str, error: Exception) -> MalformedAnswerError:
    message = f"{provider}: the answer is not {protocol} ({type(error).__name__})"
    return MalformedAnswerError(message, provider=provider)


def without_key(message: str, key: str) -> str:
    """A server's words without the key, which some quote back."""
    return message.replace(key, "***") if key else message


async def status_of(provider: str, asking: Awaitable[object]) -> ProviderStatus:
    """What a question that costs nothing tells of a provider; it raises only our errors."""
    reachable, detail = True, ""
    try:
        await asking
    except (ProviderConnectionError, ProviderTimeoutError) as error:
        reachable, detail = False, str(error)
    except ManusError as error:
        detail = str(error)
    return ProviderStatus(name=provider, key_present=True, reachable=reachable, detail=detail)
