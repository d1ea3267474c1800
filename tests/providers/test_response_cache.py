"""The response cache before a real router, over the wire, in files and in Redis."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.completion import CompletionRequest, StopReason
from core.errors import AllDeploymentsFailedError, ProviderRejectedError
from core.message import user
from core.provider_settings import CacheSettings, ProviderSettings, RouteSettings
from core.settings import Settings
from providers.factory import build_router, open_cache_store
from providers.response_cache_store import CacheEntry
from providers.router import DeploymentRouter
from tests.fakes.credentials import credentials
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall
from tests.fakes.scripts import always, in_turn
from tests.fakes.threaded import serve_in_thread

ROOT = Path(__file__).parents[2]
HELLO = CompletionRequest(messages=(user("hello"),))


class Site:
    """One MANUS_HOME or Redis, and routers over it as processes would have them."""

    def __init__(self, home: Path, cache: CacheSettings, server: FakeModelServer) -> None:
        self.home, self.cache, self.server = home, cache, server

    def settings(self, **changes: Any) -> Settings:
        route: dict[str, Any] = {"deployments": ("openai:gpt-6-sol",), "cache_ttl_seconds": 60}
        route |= changes.pop("route", {})
        return Settings(
            home=self.home,
            cache=changes.pop("cache", self.cache),
            credentials=credentials(self.server.openai_url, self.server.anthropic_url),
            routes={"default": RouteSettings(**route), **changes.pop("routes", {})},
            **changes,
        )

    @asynccontextmanager
    async def router(self, **changes: Any) -> AsyncGenerator[DeploymentRouter]:
        router = build_router(self.settings(**changes))
        try:
            yield router
        finally:
            await router.close()

    async def entries(self) -> list[CacheEntry]:
        store = open_cache_store(self.settings())
        try:
            return [entry async for entry in store.entries()]
        finally:
            await store.close()

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    def hangs_once(self) -> asyncio.Event:
        """The first request is never answered, later ones at leisure; set when it arrives."""
        arrived = asyncio.Event()

        def script(request: RecordedRequest) -> Answer | Fault:
            arrived.set()
            slow = Answer(text="hello", latency_seconds=0.2)
            return slow if request.index else Fault(kind="hang")

        self.server.script = script
        return arrived


@pytest.fixture(params=["files", "redis"])
def site(request: pytest.FixtureRequest, tmp_path: Path, server: FakeModelServer) -> Site:
    url = None
    if request.param == "redis":
        url = SecretStr(request.getfixturevalue("redis_server").url)
    return Site(tmp_path, CacheSettings(redis_url=url, redis_timeout_seconds=5), server)


async def test_the_second_process_gets_the_first_ones_answer_as_it_was(site: Site) -> None:
    call = ScriptedCall("look", {"x": 1})
    site.server.script = always(Answer(text="seen", thinking="hm", tool_calls=(call,)))
    async with site.router() as router:
        first = await router.generate_completion(HELLO)
    async with site.router() as router:
        second = await router.generate_completion(HELLO)
    assert site.asked == 1
    assert (first.cache_hit, second.cache_hit) == (False, True)
    assert second.parts == first.parts
    assert first.cost_usd is not None
    assert (second.cost_usd, second.usage) == (first.cost_usd, first.usage)


async def test_without_a_time_to_live_nothing_is_kept(site: Site) -> None:
    async with site.router(route={"cache_ttl_seconds": None}) as router:
        for _ in range(2):
            assert not (await router.generate_completion(HELLO)).cache_hit
    assert site.asked == 2
    assert await site.entries() == []


async def test_a_request_may_want_the_cache_or_not_whatever_its_route_says(site: Site) -> None:
    wanted = HELLO.model_copy(update={"cache_ttl_seconds": 60, "route": "openai:gpt-6-sol"})
    unwanted = HELLO.model_copy(update={"cache_ttl_seconds": 0})
    async with site.router() as router:
        hits = [(await router.generate_completion(r)).cache_hit for r in (wanted, wanted)]
        hits += [(await router.generate_completion(r)).cache_hit for r in (unwanted, unwanted)]
    assert hits == [False, True, False, False]


async def test_a_refresh_asks_anew_and_replaces_what_is_kept(site: Site) -> None:
    site.server.script = in_turn([Answer(text="old"), Answer(text="new")])
    async with site.router() as router:
        await router.generate_completion(HELLO)
        refresh = HELLO.model_copy(update={"cache_refresh": True})
        assert (await router.generate_completion(refresh)).text == "new"
        again = await router.generate_completion(HELLO)
    assert (again.text, again.cache_hit, site.asked) == ("new", True, 2)


async def test_an_answer_older_than_its_time_to_live_is_asked_for_again(site: Site) -> None:
    async with site.router(route={"cache_ttl_seconds": 0.2}) as router:
        await router.generate_completion(HELLO)
        await asyncio.sleep(0.25)
        assert not (await router.generate_completion(HELLO)).cache_hit
    assert site.asked == 2


async def test_a_time_to_live_that_was_shortened_holds_for_what_is_kept(site: Site) -> None:
    async with site.router() as router:
        await router.generate_completion(HELLO)
        await asyncio.sleep(0.25)
        short = HELLO.model_copy(update={"cache_ttl_seconds": 0.2})
        assert not (await router.generate_completion(short)).cache_hit


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": {"namespace": "second"}},
        {"route": {"deployments": ("openai:gpt-6-luna",)}},
        {"route": {"deployments": ("openai:gpt-6-sol", "anthropic:claude-sonnet-5-5")}},
        {"providers": {"openai": ProviderSettings(kind="openai", max_output_tokens=77)}},
    ],
    ids=["namespace", "another model", "another deployment beside it", "another provider"],
)
async def test_what_changes_who_answers_begins_with_nothing_kept(
    site: Site, changes: dict[str, Any]
) -> None:
    if "cache" in changes:
        changes = {"cache": site.cache.model_copy(update=changes["cache"])}
    async with site.router() as router:
        await router.generate_completion(HELLO)
    async with site.router(**changes) as router:
        assert not (await router.generate_completion(HELLO)).cache_hit
    assert site.asked == 2


async def test_another_key_or_price_or_timeout_serves_what_is_kept(site: Site) -> None:
    async with site.router() as router:
        await router.generate_completion(HELLO)
    openai = ProviderSettings(
        kind="openai",
        api_key=SecretStr("another"),
        timeout_seconds=5,
        input_usd_per_million=Decimal(1),
        output_usd_per_million=Decimal(1),
    )
    async with site.router(providers={"openai": openai}) as router:
        assert (await router.generate_completion(HELLO)).cache_hit


BAD_ANSWERS: Sequence[Answer] = (
    Answer(text="and so on and", stop="length"),
    Answer(text="no", stop="refusal"),
    Answer(tool_calls=(ScriptedCall("look", "{not json"),)),
)


@pytest.mark.parametrize("bad", BAD_ANSWERS, ids=["cut", "refused", "arguments"])
async def test_an_answer_that_is_not_whole_and_good_is_not_kept(site: Site, bad: Answer) -> None:
    site.server.script = always(bad)
    async with site.router() as router:
        first = await router.generate_completion(HELLO)
        await router.generate_completion(HELLO)
    assert first.stop_reason is not StopReason.END
    assert site.asked == 2
    assert await site.entries() == []


@pytest.mark.parametrize(("text", "asked"), [('{"x": "no"}', 2), ("no", 2), ('{"x": 1}', 1)])
async def test_an_answer_that_does_not_fit_the_schema_is_not_kept(
    site: Site, text: str, asked: int
) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    site.server.script = always(Answer(text=text))
    request = HELLO.model_copy(update={"output_schema": schema})
    async with site.router() as router:
        for _ in range(2):
            await router.generate_completion(request)
    assert site.asked == asked


async def test_what_a_fallback_answered_is_not_kept_for_when_the_route_is_back(site: Site) -> None:
    def script(request: RecordedRequest) -> Answer | Fault:
        down = request.protocol == "openai" and request.index == 0
        return Fault(status=503) if down else Answer(text=request.protocol)

    site.server.script = script
    fallback = {"spare": RouteSettings(deployments=("anthropic:claude-sonnet-5-5",))}
    async with site.router(route={"fallbacks": ("spare",)}, routes=fallback) as router:
        assert (await router.generate_completion(HELLO)).text == "anthropic"
    assert await site.entries() == []


async def test_an_error_is_raised_and_not_kept(site: Site) -> None:
    site.server.script = in_turn([Fault(status=400), Answer(text="hello")])
    async with site.router() as router:
        with pytest.raises(ProviderRejectedError):
            await router.generate_completion(HELLO)
        assert (await router.generate_completion(HELLO)).text == "hello"


async def test_fifty_callers_of_one_question_make_one_wire_request(site: Site) -> None:
    site.server.latency_seconds = 0.2
    async with site.router() as router:
        answers = await asyncio.gather(*(router.generate_completion(HELLO) for _ in range(50)))
    assert site.asked == 1
    assert sum(not a.cache_hit for a in answers) == 1
    assert {a.text for a in answers} == {"hello"}


async def test_two_routers_share_one_question_under_way(site: Site) -> None:
    site.server.latency_seconds = 0.3
    async with site.router() as one, site.router() as other:
        answers = await asyncio.gather(
            *(router.generate_completion(HELLO) for router in (one, other) for _ in range(5))
        )
    assert site.asked == 1
    assert {a.text for a in answers} == {"hello"}


async def test_a_stream_and_a_plain_call_share_what_is_kept(site: Site) -> None:
    async with site.router() as router:
        streamed = [c async for c in router.generate_stream(HELLO)]
        plain = await router.generate_completion(HELLO)
        again = [c async for c in router.generate_stream(HELLO)]
    assert site.asked == 1
    assert streamed[-1].completion
    assert (streamed[-1].completion.cache_hit, plain.cache_hit) == (False, True)
    assert again[-1].completion
    assert (again[-1].completion.cache_hit, again[0].text) == (True, "hello")


async def test_callers_who_wait_for_a_stream_get_its_answer(site: Site) -> None:
    async with site.router() as router:
        stream = router.generate_stream(HELLO)
        first = await anext(stream)
        waiting = asyncio.create_task(router.generate_completion(HELLO))
        rest = [c async for c in stream]
        assert (await waiting).cache_hit
    assert "".join(c.text for c in (first, *rest)) == "hello"
    assert site.asked == 1


async def test_different_questions_do_not_wait_for_each_other(site: Site) -> None:
    both = asyncio.Barrier(2)

    async def ask(router: DeploymentRouter, text: str) -> None:
        await both.wait()
        await router.generate_completion(CompletionRequest(messages=(user(text),)))

    site.server.latency_seconds = 0.5
    async with site.router() as router:
        await asyncio.gather(ask(router, "a"), ask(router, "b"))
    first, second = site.server.requests
    assert first.ended_monotonic is not None
    assert second.started_monotonic < first.ended_monotonic


async def test_the_leaders_failure_wakes_the_others_who_then_ask_themselves(site: Site) -> None:
    slow_failure = Fault(status=400, latency_seconds=0.3)
    site.server.script = in_turn([slow_failure, Answer(text="hello")])
    async with site.router() as router:
        answers = await asyncio.gather(
            *(router.generate_completion(HELLO) for _ in range(5)), return_exceptions=True
        )
    assert isinstance(answers[0], ProviderRejectedError)
    assert site.asked == 5
    assert not any(isinstance(a, BaseException) for a in answers[1:])


async def test_a_cancelled_leader_is_replaced_and_a_cancelled_waiter_only_leaves(
    site: Site,
) -> None:
    asked = site.hangs_once()
    async with site.router() as router:
        tasks = [asyncio.create_task(router.generate_completion(HELLO)) for _ in range(5)]
        await asked.wait()
        tasks[3].cancel()
        tasks[0].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled = [isinstance(a, asyncio.CancelledError) for a in answers]
    assert cancelled == [True, False, False, True, False]
    assert site.asked == 2


async def test_nobody_waits_longer_for_another_caller_than_a_try_may_take(site: Site) -> None:
    asked = site.hangs_once()
    async with site.router() as one, site.router() as other:
        leader = asyncio.create_task(one.generate_completion(HELLO))
        await asked.wait()
        impatient = HELLO.model_copy(update={"timeout_seconds": 0.5})
        for router in (one, other):
            with_patience = router.generate_completion(impatient)
            assert (await with_patience).text == "hello"
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)


async def _ask_in_a_process(site: Site, url: str) -> asyncio.subprocess.Process:
    redis = site.cache.redis_url.get_secret_value() if site.cache.redis_url else ""
    module = "tests.providers.cached_process"
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(site.home), url, redis),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_two_processes_share_one_question_under_way(site: Site) -> None:
    with serve_in_thread(always(Answer(text="hello")), latency_seconds=3.0) as server:
        processes = [await _ask_in_a_process(site, server.openai_url) for _ in range(2)]
        outputs = [await p.communicate() for p in processes]
        asked = len(server.requests)
    answers = [json.loads(stdout) for stdout, _ in outputs]
    assert asked == 1
    assert sorted(a["cache_hit"] for a in answers) == [False, True]
    assert {a["text"] for a in answers} == {"hello"}


async def test_a_failing_route_stays_an_error(site: Site) -> None:
    site.server.script = always(Fault(status=503))
    async with site.router() as router:
        with pytest.raises(AllDeploymentsFailedError):
            await router.generate_completion(HELLO)
