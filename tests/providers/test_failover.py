"""The router: who is asked next, who is left alone, when it waits and what it reports."""

from __future__ import annotations

import pickle
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from core.completion import CompletionRequest, ToolDefinition
from core.errors import (
    AllDeploymentsFailedError,
    ConfigError,
    ContextOverflowError,
    ProviderRejectedError,
)
from core.message import Message, ThinkingPart, ToolResultPart, user
from core.ports import FailedTry, Router
from core.provider_settings import ProviderSettings, RouteSettings
from core.settings import Settings
from providers.cooldown import CooldownLimits
from providers.factory import build_router
from providers.router import DeploymentRouter, RouterLimits
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall
from tests.fakes.scripts import always, in_turn

ASKED = CompletionRequest(messages=(user("hello"),), timeout_seconds=20)
QUICK = RouterLimits(backoff_seconds=0.01, cooldown=CooldownLimits(unstated=0.05))
FIRST, SECOND = "openai:gpt-6-sol", "anthropic:claude-sonnet-5-5"


@asynccontextmanager
async def routed(
    *deployments: str, server: FakeModelServer, limits: RouterLimits = QUICK
) -> AsyncGenerator[DeploymentRouter]:
    """A router whose default route is these deployments, all at one server."""
    keys = credentials(openai=server.openai_url, anthropic=server.anthropic_url)
    routes = {"default": RouteSettings(deployments=deployments)}
    router = build_router(Settings(credentials=keys, routes=routes), limits=limits)
    try:
        yield router
    finally:
        await router.close()


def only_fails(protocol: str, fault: Fault) -> Callable[[RecordedRequest], Answer | Fault]:
    return lambda r: fault if r.protocol == protocol else Answer(text="second")


def asked_of(server: FakeModelServer) -> list[str]:
    return [request.model for request in server.requests]


async def test_the_router_is_one_of_core_ports(server: FakeModelServer) -> None:
    async with routed(FIRST, server=server) as router:
        port: Router = router
        answer = await port.generate_completion(ASKED)
    assert answer.text == "hello"


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault(status=429, headers={"retry-after": "60"}), "RateLimitedError"),
        (Fault(status=500), "OverloadedError"),
        (Fault("cut_midway"), "ProviderConnectionError"),
        (Fault("hang"), "ProviderTimeoutError"),
    ],
    ids=["429", "500", "cut", "timeout"],
)
async def test_the_next_deployment_answers_under_its_own_model(
    fault: Fault, error_type: str, server: FakeModelServer
) -> None:
    server.script = only_fails("openai", fault)
    failed: list[FailedTry] = []
    request = ASKED.model_copy(update={"timeout_seconds": 0.5})
    async with routed(FIRST, "anthropic:claude-haiku-5-5", server=server) as router:
        answer = await router.generate_completion(request, on_failed_try=failed.append)
    assert asked_of(server) == ["gpt-6-sol", "claude-haiku-5-5"]
    assert answer.deployment == "anthropic:claude-haiku-5-5"
    assert [(f.deployment, f.error_type) for f in failed] == [(FIRST, error_type)]


async def test_a_cooling_deployment_is_skipped_by_later_calls(server: FakeModelServer) -> None:
    server.script = only_fails("openai", Fault(status=429, headers={"retry-after": "60"}))
    async with routed(FIRST, SECOND, server=server) as router:
        for _ in range(3):
            assert (await router.generate_completion(ASKED)).text == "second"
    assert asked_of(server) == ["gpt-6-sol", *["claude-sonnet-5-5"] * 3]


async def test_a_deployment_is_asked_again_when_it_has_cooled_down(server: FakeModelServer) -> None:
    limited = Fault(status=429, headers={"retry-after-ms": "50"})
    server.script = in_turn([limited, Answer(text="back")])
    async with routed(FIRST, server=server) as router:
        started = time.monotonic()
        answer = await router.generate_completion(ASKED)
    assert answer.text == "back"
    assert time.monotonic() - started >= 0.05


async def test_a_long_wait_is_left_to_the_caller(server: FakeModelServer) -> None:
    server.script = always(Fault(status=429, headers={"retry-after": "100000"}))
    async with routed(FIRST, SECOND, server=server) as router:
        with pytest.raises(AllDeploymentsFailedError) as caught:
            await router.generate_completion(ASKED)
    error = caught.value
    assert error.retryable
    assert 290 < error.details["retry_after_seconds"] <= 300, "bounded, whatever was asked for"
    assert FIRST in str(error)
    assert SECOND in str(error)
    assert "RateLimitedError" in str(error)
    assert pickle.loads(pickle.dumps(error)).details == error.details


async def test_a_provider_with_a_wrong_key_neither_ends_the_run_nor_is_asked_again(
    server: FakeModelServer,
) -> None:
    server.script = only_fails("openai", Fault(status=401))
    async with routed(FIRST, SECOND, server=server) as router:
        for _ in range(2):
            assert (await router.generate_completion(ASKED)).text == "second"
    assert asked_of(server) == ["gpt-6-sol", *["claude-sonnet-5-5"] * 2]


async def test_a_wrong_key_alone_is_no_reason_to_retry(server: FakeModelServer) -> None:
    server.script = always(Fault(status=401))
    async with routed(FIRST, server=server) as router:
        for _ in range(2):
            with pytest.raises(AllDeploymentsFailedError) as caught:
                await router.generate_completion(ASKED)
            assert not caught.value.retryable
            assert "AuthenticationError" in str(caught.value)


async def test_a_bad_request_is_not_sprayed_over_providers(server: FakeModelServer) -> None:
    server.script = always(Fault(status=400))
    async with routed(FIRST, SECOND, server=server) as router:
        with pytest.raises(ProviderRejectedError):
            await router.generate_completion(ASKED)
    assert asked_of(server) == ["gpt-6-sol"]


async def test_the_only_deployment_gets_another_chance_after_a_cut(server: FakeModelServer) -> None:
    server.script = in_turn([Fault("cut_before"), Fault("cut_midway"), Answer(text="at last")])
    failed: list[FailedTry] = []
    async with routed(FIRST, server=server) as router:
        answer = await router.generate_completion(ASKED, on_failed_try=failed.append)
    assert answer.text == "at last"
    assert [f.try_index for f in failed] == [0, 1]


async def test_chances_are_bounded(server: FakeModelServer) -> None:
    server.script = always(Fault("cut_before"))
    async with routed(FIRST, server=server) as router:
        with pytest.raises(AllDeploymentsFailedError) as caught:
            await router.generate_completion(ASKED)
    assert caught.value.retryable
    assert len(server.requests) == QUICK.connection_tries


async def test_rate_limits_without_a_time_are_retried_a_bounded_number_of_times(
    server: FakeModelServer,
) -> None:
    server.script = always(Fault(status=429))
    async with routed(FIRST, SECOND, server=server) as router:
        with pytest.raises(AllDeploymentsFailedError):
            await router.generate_completion(ASKED)
    assert len(server.requests) == QUICK.max_tries


async def test_one_deadline_holds_over_all_tries(server: FakeModelServer) -> None:
    server.script = always(Fault("hang"))
    limits = RouterLimits(total_seconds=0.3)
    request = ASKED.model_copy(update={"timeout_seconds": 0.25})
    async with routed(FIRST, SECOND, "openai:gpt-6-luna", server=server, limits=limits) as router:
        with pytest.raises(AllDeploymentsFailedError, match="time for the whole call is over"):
            await router.generate_completion(request)
    assert asked_of(server) == ["gpt-6-sol", "claude-sonnet-5-5"]


async def test_a_request_too_large_for_a_model_is_not_sent_to_it(server: FakeModelServer) -> None:
    huge = CompletionRequest(messages=(user("many words " * 900_000),))
    async with routed(FIRST, server=server) as router:
        with pytest.raises(ContextOverflowError, match="do not fit the window"):
            await router.generate_completion(huge)
    assert server.requests == []


async def test_a_large_request_refused_without_a_code_counts_as_an_overflow(
    server: FakeModelServer,
) -> None:
    server.script = only_fails("anthropic", Fault(status=400))
    large = CompletionRequest(messages=(user("many words " * 480_000),))
    async with routed(SECOND, FIRST, server=server) as router:
        answer = await router.generate_completion(large)
    assert answer.deployment == FIRST


async def test_a_conversation_stays_with_who_made_its_thinking(server: FakeModelServer) -> None:
    thought = ThinkingPart(text="hm", signature="c2ln", provider="anthropic")
    messages = (user("a"), Message(role="assistant", parts=(thought,)), user("b"))
    async with routed(FIRST, SECOND, server=server) as router:
        answer = await router.generate_completion(CompletionRequest(messages=messages))
    assert answer.provider == "anthropic"
    assert "c2ln" in server.requests[0].text


async def test_a_conversation_stays_with_who_made_its_tool_calls(server: FakeModelServer) -> None:
    calling = Answer(tool_calls=(ScriptedCall("look", {}),))
    server.script = in_turn([Fault(status=500), calling, Answer(text="seen")])
    tool = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
    async with routed(FIRST, SECOND, server=server) as router:
        turn = await router.generate_completion(ASKED.model_copy(update={"tools": (tool,)}))
        (call,) = turn.tool_calls
        result = ToolResultPart(call_id=call.id, name="look", text="a tree")
        messages = (*ASKED.messages, turn.to_message(), Message(role="tool", parts=(result,)))
        last = await router.generate_completion(CompletionRequest(messages=messages))
    assert (turn.provider, last.provider) == ("anthropic", "anthropic")


async def test_a_route_may_be_written_as_provider_and_model(server: FakeModelServer) -> None:
    request = ASKED.model_copy(update={"route": "openai:gpt-6-luna"})
    async with routed(SECOND, server=server) as router:
        answer = await router.generate_completion(request)
    assert answer.deployment == "openai:gpt-6-luna"


@pytest.mark.parametrize("route", ["fast", "nobody:model"])
async def test_an_unknown_route_is_an_error_that_names_it(
    route: str, server: FakeModelServer
) -> None:
    async with routed(FIRST, server=server) as router:
        with pytest.raises(ConfigError, match=route.partition(":")[0]):
            await router.generate_completion(ASKED.model_copy(update={"route": route}))


async def test_an_answer_carries_its_price_or_none(server: FakeModelServer) -> None:
    async with routed(FIRST, "openai:house-model", server=server) as router:
        priced = await router.generate_completion(ASKED)
        unknown = await router.generate_completion(
            ASKED.model_copy(update={"route": "openai:house-model"})
        )
    assert priced.cost_usd is not None
    assert priced.cost_usd > Decimal(0)
    assert unknown.cost_usd is None


async def test_two_servers_of_one_kind_back_each_other_up(
    server: FakeModelServer, other_server: FakeModelServer
) -> None:
    server.script = always(Fault(status=503))
    common = ProviderSettings(kind="openai", model="house-model")
    providers = {
        "north": common.model_copy(update={"base_url": server.openai_url}),
        "south": common.model_copy(update={"base_url": other_server.openai_url}),
    }
    keys = credentials(openai=server.openai_url)
    router = build_router(Settings(credentials=keys, providers=providers), limits=QUICK)
    answer = await router.generate_completion(ASKED)
    await router.close()
    assert router.describe() == {"default": ("north:house-model", "south:house-model")}
    assert (answer.provider, answer.text) == ("south", "hello from the other")
