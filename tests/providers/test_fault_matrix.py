"""Every fault at every kind of provider: what it becomes, and what the router makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, get_args

import pytest
import pytest_asyncio

from core.completion import Chunk, CompletionRequest, ToolDefinition
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
    TruncatedStreamError,
)
from core.message import user
from core.ports import FailedTry
from core.provider_settings import ProviderKind, ProviderSettings
from providers.base import BaseProvider
from providers.breaker import BreakerState
from providers.cooldown import CooldownLimits
from providers.deployment import Deployment
from providers.prices import PriceBook
from providers.route import Route, Routing
from providers.router import DeploymentRouter, RouterLimits
from tests.fakes.kinds import MODELS, provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, ScriptedCall
from tests.fakes.scripts import always

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS: tuple[ProviderKind, ...] = tuple(k for k in get_args(ProviderKind) if k != "local")
"""The local model has no wire between it and us."""
LIMITS = RouterLimits(backoff_seconds=0.001, cooldown=CooldownLimits(unstated=0.01, failing=0.01))
TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
ASKED = CompletionRequest(messages=(user("hello"),), tools=(TOOL,), timeout_seconds=20)


@dataclass(frozen=True, slots=True)
class Row:
    """``elsewhere`` is whether a second deployment is asked; ``breaker`` how the first one is left.

    ``alone`` is how often the first is asked where there is no other.
    """

    fault: str
    reply: Fault | Answer
    error: type[ManusError]
    elsewhere: bool
    breaker: BreakerState | Literal["paused"] = "closed"
    alone: int = 1


SOON = {"retry-after": "0.01"}
ROWS = (
    Row("400", Fault(status=400), ProviderRejectedError, False),
    Row("401", Fault(status=401), AuthenticationError, True, "open"),
    Row("403", Fault(status=403), PermissionDeniedError, True, "open"),
    Row("404", Fault(status=404), ModelNotFoundError, True, "open"),
    Row("408", Fault(status=408), ProviderTimeoutError, True),
    Row("409", Fault(status=409), ProviderRejectedError, False),
    Row("413", Fault(status=413), ProviderRejectedError, False),
    Row("429", Fault(status=429), RateLimitedError, True, "paused", alone=6),
    Row("429 timed", Fault(status=429, headers=SOON), RateLimitedError, True, "paused", alone=6),
    Row("500", Fault(status=500), OverloadedError, True),
    Row("503", Fault(status=503), OverloadedError, True),
    Row("503 timed", Fault(status=503, headers=SOON), OverloadedError, True, "paused", alone=6),
    Row("529", Fault(status=529), OverloadedError, True),
    Row("reset before", Fault("cut_before"), ProviderConnectionError, True, alone=3),
    Row("reset in mid-body", Fault("cut_midway"), ProviderConnectionError, True, alone=3),
    Row("invalid JSON", Fault("invalid_json"), MalformedAnswerError, True),
    Row("empty", Answer(text=""), MalformedAnswerError, True),
)
STREAM_ROWS = (
    *ROWS[:-2],
    Row("clean early end", Fault("early_end"), TruncatedStreamError, True),
    Row("error event", Fault("stream_error", code="surprise"), OverloadedError, True),
    Row("empty", Answer(text=""), MalformedAnswerError, True),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The first provider, over a server that a test scripts, and a second one that is well."""

    kind: ProviderKind
    server: FakeModelServer
    first: BaseProvider
    second: BaseProvider
    prices: PriceBook

    def router(self, *, alone: bool) -> DeploymentRouter:
        """A new one, that has learned nothing yet."""
        first = Deployment("first", MODELS[self.kind])
        deployments = (first,) if alone else (first, Deployment("second", "house-model"))
        providers = {"first": self.first, "second": self.second}
        models = {"first": first.model, "second": "house-model"}
        routing = Routing({"default": Route("default", deployments)}, models)
        return DeploymentRouter(providers, routing, self.prices, limits=LIMITS)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def subject(request: pytest.FixtureRequest) -> AsyncGenerator[Subject]:
    kind: ProviderKind = request.param
    well = always(Answer(text="the second"))
    async with FakeModelServer(well) as server, FakeModelServer(well) as other:
        first = provider_of(kind, server, name="first")
        second = provider_of("vllm", other, name="second")
        prices = PriceBook({"first": ProviderSettings(kind="vllm")})
        yield Subject(kind, server, first, second, prices)
        await asyncio.gather(first.close(), second.close())


async def breaker_of_first(router: DeploymentRouter) -> str:
    states = {s.deployment.partition(":")[0]: s for s in await router.snapshot()}
    return states["first"].breaker


async def drained(stream: AsyncGenerator[Chunk]) -> None:
    """Reads a stream that must not end in an answer."""
    async for chunk in stream:
        assert chunk.completion is None


def left_as(row: Row, state: str) -> bool:
    """A pause of a hundredth of a second may be over by now; it is then to be probed."""
    return state in ("open", "half_open") if row.breaker == "paused" else state == row.breaker


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
async def test_a_fault_has_its_class_and_its_consequence(row: Row, subject: Subject) -> None:
    subject.server.script = always(row.reply)
    router = subject.router(alone=False)
    failed: list[FailedTry] = []
    answering = router.generate_completion(ASKED, on_failed_try=failed.append)
    if row.elsewhere:
        assert (await answering).text == "the second"
    else:
        with pytest.raises(row.error) as caught:
            await answering
        assert type(caught.value) is row.error
    assert [f.error_type for f in failed] == [row.error.__name__]
    assert left_as(row, await breaker_of_first(router))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
async def test_where_there_is_no_other_it_is_asked_again_only_if_that_may_help(
    row: Row, subject: Subject
) -> None:
    subject.server.script = always(row.reply)
    before = len(subject.server.requests)
    with pytest.raises(ManusError):
        await subject.router(alone=True).generate_completion(ASKED)
    assert len(subject.server.requests) - before == row.alone


@pytest.mark.parametrize("row", STREAM_ROWS, ids=lambda row: row.fault)
async def test_a_fault_of_a_stream_has_its_class(row: Row, subject: Subject) -> None:
    subject.server.script = always(row.reply)
    with pytest.raises(row.error) as caught:
        await drained(subject.first.generate_stream(ASKED, model=MODELS[subject.kind]))
    assert type(caught.value) is row.error


@pytest.mark.parametrize("streamed", [False, True])
async def test_invalid_arguments_are_an_answer_that_the_model_must_correct(
    streamed: bool, subject: Subject
) -> None:
    subject.server.script = always(Answer(tool_calls=(ScriptedCall("look", '{"a": '),)))
    router = subject.router(alone=False)
    if streamed:
        answer = [chunk async for chunk in router.generate_stream(ASKED)][-1].completion
    else:
        answer = await router.generate_completion(ASKED)
    assert answer is not None
    assert answer.provider == "first", "nobody else is asked"
    (call,) = answer.tool_calls
    assert (call.name, call.arguments) == ("look", {})
    assert call.arguments_error
    assert await breaker_of_first(router) == "closed"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_connection_fails_over(kind: ProviderKind) -> None:
    async with FakeModelServer(always(Answer(text="x"))) as gone:
        pass
    async with FakeModelServer(always(Answer(text="the second"))) as other:
        first = provider_of(kind, gone, name="first")
        second = provider_of("vllm", other, name="second")
        subject = Subject(kind, gone, first, second, PriceBook({}))
        failed: list[FailedTry] = []
        answer = await subject.router(alone=False).generate_completion(
            ASKED, on_failed_try=failed.append
        )
        await asyncio.gather(first.close(), second.close())
    assert answer.text == "the second"
    assert [f.error_type for f in failed] == ["ProviderConnectionError"]
