"""What boto3 raises, as our errors: by the service's code, then by status, never by message."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, cast

import urllib3
from botocore import eventstream, exceptions, parsers

from core.errors import (
    AuthenticationError,
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
from providers.error_map import Rejection, error_for

_BY_CODE: Mapping[str, type[ManusError]] = MappingProxyType(
    {
        "ThrottlingException": RateLimitedError,
        "TooManyRequestsException": RateLimitedError,
        # 400, though waiting or another region helps.
        "ServiceQuotaExceededException": RateLimitedError,
        # 429, though nobody is too fast: the model is still being loaded.
        "ModelNotReadyException": RateLimitedError,
        "ModelTimeoutException": ProviderTimeoutError,
        "ModelErrorException": OverloadedError,
        "ModelStreamErrorException": OverloadedError,
        "InternalServerException": OverloadedError,
        "ServiceUnavailableException": OverloadedError,
        "ValidationException": ProviderRejectedError,
        "AccessDeniedException": PermissionDeniedError,
        "OptInRequired": PermissionDeniedError,
        "ResourceNotFoundException": ModelNotFoundError,
        # Not modelled by the service: its front door says them, most with 403.
        "ExpiredToken": AuthenticationError,
        "ExpiredTokenException": AuthenticationError,
        "IncompleteSignature": AuthenticationError,
        "IncompleteSignatureException": AuthenticationError,
        "InvalidClientTokenId": AuthenticationError,
        "InvalidSignatureException": AuthenticationError,
        "MissingAuthenticationToken": AuthenticationError,
        "MissingAuthenticationTokenException": AuthenticationError,
        "RequestExpired": AuthenticationError,
        "SignatureDoesNotMatch": AuthenticationError,
        "UnrecognizedClientException": AuthenticationError,
    }
)

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.NoAuthTokenError,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
    exceptions.LoginError,
)
_TIMED_OUT = (
    exceptions.ReadTimeoutError,
    exceptions.ConnectTimeoutError,
    urllib3.exceptions.TimeoutError,
)
_NO_CONNECTION = (
    exceptions.HTTPClientError,
    exceptions.ConnectionError,
    urllib3.exceptions.HTTPError,
    OSError,
)
_NOT_CONVERSE = (parsers.ResponseParserError, eventstream.ParserError, ValueError)


@contextmanager
def mapped_errors(provider: str) -> Generator[None]:
    """What botocore raises, and what it lets through of its transport, as ours."""
    try:
        yield
    except exceptions.ClientError as error:
        raise _rejected(error, provider) from error
    except _NO_CREDENTIALS as error:
        message = f"{provider}: no usable AWS credentials ({type(error).__name__})"
        raise AuthenticationError(message, provider=provider) from error
    except _TIMED_OUT as error:
        raise ProviderTimeoutError(f"{provider}: timed out", provider=provider) from error
    except _NO_CONNECTION as error:
        message = f"{provider}: connection failed ({type(error).__name__})"
        raise ProviderConnectionError(message, provider=provider) from error
    except exceptions.BotoCoreError as error:
        # What botocore refuses to send, such as a parameter of a wrong type.
        message = f"{provider}: the request cannot be sent ({type(error).__name__})"
        raise ProviderRejectedError(message, provider=provider) from error
    except _NOT_CONVERSE as error:
        message = f"{provider}: the answer is not Converse's ({type(error).__name__})"
        raise MalformedAnswerError(message, provider=provider) from error


def check_whole(response_dict: Mapping[str, Any], **_: Any) -> None:
    """A body shorter than announced, which botocore would take for the answer.

    A handler of botocore's ``before-parse`` event.

    Raises:
        ResponseStreamingError: the connection was closed in mid-answer.
    """
    announced, body = response_dict["headers"].get("content-length"), response_dict["body"]
    if announced and isinstance(body, bytes) and len(body) < int(announced):
        raise exceptions.ResponseStreamingError(error=f"{len(body)} of {announced} bytes")


def _rejected(error: exceptions.ClientError, provider: str) -> ManusError:
    """Also of an EventStreamError: it has no status, and a code that begins in lower case."""
    response = cast("dict[str, Any]", error.response)
    said: dict[str, Any] = response.get("Error") or {}
    told: dict[str, Any] = response.get("ResponseMetadata") or {}
    code = str(said.get("Code") or "")
    code = code[:1].upper() + code[1:]
    found = error_for(
        Rejection(
            provider=provider,
            status=int(told.get("HTTPStatusCode") or 200),
            message=str(said.get("Message") or code),
            codes=(code,),
            request_id=told.get("RequestId"),
            headers=told.get("HTTPHeaders") or {},
        )
    )
    kind = _BY_CODE.get(code, type(found))
    return kind(found.message, **found.details)
