"""What else goes wrong on the wire than ``test_fault_matrix`` has, and what errors carry."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from core.completion import Chunk, CompletionRequest
from core.errors import (
    ContentRefusedError,
    ContextOverflowError,
    MalformedAnswerError,
    ManusError,
    OverloadedError,
    PermissionDeniedError,
    ProviderConnectionError,
    ProviderRejectedError,
    ProviderTimeoutError,
    RateLimitedError,
)
from core.message import user
from core.ports import FailedTry
from core.provider_settings import ProviderKind
from core.settings import Settings
from providers.base import BaseProvider
from providers.factory import build_router
from tests.fakes.credentials import credentials
from tests.fakes.kinds import MODELS, provider_of, settings_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, Protocol, RecordedRequest
from tests.fakes.scripts import always

KEYED: tuple[ProviderKind, ...] = ("openai", "openai_responses", "anthropic", "azure", "google")
KINDS: tuple[ProviderKind, ...] = (*KEYED, "gemini", "bedrock")
FIRST: Mapping[ProviderKind, Protocol] = {
    "openai": "openai",
    "openai_responses": "responses",
    "anthropic": "anthropic",
    "gemini": "google",
    "bedrock": "bedrock",
}
ASKED = CompletionRequest(messages=(user("hello"),), timeout_seconds=20)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    reply: Fault | Answer
    error: type[ManusError]
    moves_on: bool
    timeout_seconds: float = 20


CASES = (
    Case("402", Fault(status=402), PermissionDeniedError, True),
    Case("422", Fault(status=422), ProviderRejectedError, False),
    Case("html 502", Fault(status=502, body="<html>bad gateway"), OverloadedError, True),
    Case("hang", Fault("hang"), ProviderTimeoutError, True, timeout_seconds=0.2),
    Case("blank", Answer(text=" \n "), MalformedAnswerError, True),
    Case("silent refusal", Answer(text="", stop="refusal"), ContentRefusedError, False),
)

STREAM_CASES = (
    Case("overload", Fault("stream_error", code="overloaded_error"), OverloadedError, True),
    Case("rate", Fault("stream_error", code="rate_limit_error"), RateLimitedError, True),
    Case("hang", Fault("hang"), ProviderTimeoutError, True, timeout_seconds=0.2),
)


async def drained(stream: AsyncGenerator[Chunk]) -> None:
    """Reads a stream that must not end in an answer."""
    async for chunk in stream:
        assert chunk.completion is None


@asynccontextmanager
async def opened(kind: ProviderKind, server: FakeModelServer) -> AsyncGenerator[BaseProvider]:
    provider = provider_of(kind, server)
    try:
        yield provider
    finally:
        await provider.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_failure_has_its_class_and_survives_pickle(
    case: Case, kind: ProviderKind, server: FakeModelServer
) -> None:
    server.script = always(case.reply)
    async with opened(kind, server) as provider:
        request = ASKED.model_copy(update={"timeout_seconds": case.timeout_seconds})
        with pytest.raises(case.error) as caught:
            await provider.generate_completion(request, model=MODELS[kind])
    assert type(caught.value) is case.error
    assert len(server.requests) == 1, "the SDK must not retry by itself"
    revived = pickle.loads(pickle.dumps(caught.value))
    assert type(revived) is case.error
    assert revived.details == caught.value.details
    assert revived.details["provider"] == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", STREAM_CASES, ids=lambda case: case.name)
async def test_a_broken_stream_is_an_error(
    case: Case, kind: ProviderKind, server: FakeModelServer
) -> None:
    server.script = always(case.reply)
    async with opened(kind, server) as provider:
        request = ASKED.model_copy(update={"timeout_seconds": case.timeout_seconds})
        with pytest.raises(case.error) as caught:
            await drained(provider.generate_stream(request, model=MODELS[kind]))
    assert type(caught.value) is case.error


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_only_what_may_work_elsewhere_moves_on(
    case: Case, first: ProviderKind, server: FakeModelServer
) -> None:
    def script(request: RecordedRequest) -> Answer | Fault:
        return case.reply if request.protocol == FIRST[first] else Answer(text="the second")

    server.script = script
    second: ProviderKind = "openai" if first == "anthropic" else "anthropic"
    providers = {kind: settings_of(kind, server) for kind in (first, second)}
    router = build_router(Settings(credentials=credentials(), providers=providers))
    failed: list[FailedTry] = []
    request = ASKED.model_copy(update={"timeout_seconds": case.timeout_seconds})
    answering = router.generate_completion(request, on_failed_try=failed.append)
    if case.moves_on:
        answer = await answering
        assert (answer.text, answer.model) == ("the second", MODELS[second])
    else:
        with pytest.raises(case.error):
            await answering
    await router.close()
    (lost,) = failed
    assert (lost.provider, lost.model, lost.try_index) == (first, MODELS[first], 0)
    assert lost.error_type == case.error.__name__
    assert lost.duration_seconds > 0
    assert len(server.requests) == 1 + case.moves_on


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_in_words_is_an_answer(kind: ProviderKind, server: FakeModelServer) -> None:
    server.script = always(Answer(text="I will not do that.", stop="refusal"))
    async with opened(kind, server) as provider:
        answer = await provider.generate_completion(ASKED, model=MODELS[kind])
    assert (answer.text, answer.stop_reason.value) == ("I will not do that.", "refusal")


@pytest.mark.parametrize("kind", ["openai", "openai_responses", "azure"])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("context_length_exceeded", ContextOverflowError),
        ("content_filter", ContentRefusedError),
        ("tool_use_failed", MalformedAnswerError),
    ],
)
async def test_a_bad_request_is_told_apart_by_its_code(
    code: str, error: type[ManusError], kind: ProviderKind, server: FakeModelServer
) -> None:
    server.script = always(Fault(status=400, code=code))
    async with opened(kind, server) as provider:
        with pytest.raises(error) as caught:
            await provider.generate_completion(ASKED, model=MODELS[kind])
    assert type(caught.value) is error
    assert caught.value.details["code"] == code


async def test_a_spent_quota_is_not_worth_waiting_for(server: FakeModelServer) -> None:
    server.script = always(Fault(status=429, code="insufficient_quota"))
    async with opened("openai", server) as provider:
        with pytest.raises(PermissionDeniedError):
            await provider.generate_completion(ASKED, model="gpt-6-sol")


@pytest.mark.parametrize("kind", [*KEYED, "gemini"])
async def test_an_error_keeps_what_the_provider_said_but_not_the_key(
    kind: ProviderKind, server: FakeModelServer
) -> None:
    fault = Fault(status=429, headers={"retry-after": "3"}, message=f"slow down, {kind}-key")
    server.script = always(fault)
    async with opened(kind, server) as provider:
        with pytest.raises(RateLimitedError) as caught:
            await provider.generate_completion(ASKED, model=MODELS[kind])
    error = caught.value
    assert error.retry_after_seconds == 3
    assert error.details["request_id"] == "req_0"
    assert "slow down" in str(error)
    assert f"{kind}-key" not in str(error)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_provider_that_is_not_there_is_unreachable(kind: ProviderKind) -> None:
    async with FakeModelServer(always(Answer(text="x"))) as gone:
        pass
    async with opened(kind, gone) as provider:
        with pytest.raises(ProviderConnectionError):
            await provider.generate_completion(ASKED, model=MODELS[kind])
        assert (await provider.get_status()).reachable is False


@pytest.mark.parametrize("kind", KINDS)
async def test_a_timeout_ends_the_request_at_the_server(
    kind: ProviderKind, server: FakeModelServer
) -> None:
    server.script = always(Fault("hang"))
    async with opened(kind, server) as provider:
        request = ASKED.model_copy(update={"timeout_seconds": 0.2})
        with pytest.raises(ProviderTimeoutError):
            await provider.generate_completion(request, model=MODELS[kind])
        for _ in range(100):
            if server.requests[0].outcome == "client_gone":
                break
            await asyncio.sleep(0.02)
        assert server.requests[0].outcome == "client_gone"
