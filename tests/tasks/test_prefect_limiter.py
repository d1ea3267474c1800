"""Rate limits on a real Prefect server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from core.errors import EnvironmentUnusableError
from core.provider_settings import RateLimits
from tasks.prefect_limiter import limit_name, prefect_limiter
from tests.tasks.prefect_limited_process import LIMITS

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("prefect_server")
def test_two_processes_together_get_what_one_limit_allows() -> None:
    command = [sys.executable, "-m", "tests.tasks.prefect_limited_process", "4"]
    processes = [Popen(command, cwd=ROOT, stdout=PIPE, text=True) for _ in range(2)]
    ended = [json.loads(p.communicate(timeout=90)[0]) for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    seconds = max(e["ended"] for e in ended) - min(e["began"] for e in ended)
    granted = sum(e["granted"] for e in ended)
    rpm = LIMITS["openai:two/processes"].rpm or 0
    assert rpm <= granted <= rpm + seconds * rpm / 60 + 1
    assert any(e["refused"] for e in ended)


@pytest.mark.usefixtures("prefect_server")
async def test_tokens_are_taken_given_back_and_refused_as_a_whole() -> None:
    async with prefect_limiter({"openai": RateLimits(rpm=50, tpm=600)}) as limiter:
        first = await limiter.reserve("openai:a", 600)
        assert first.granted
        refused = await limiter.reserve("openai:b", 300)
        assert not refused.granted
        assert refused.wait_seconds > 0
        assert (await limiter.headroom("openai:b")).requests in (48, 49), "no request was lost"
        await limiter.settle(first, 100)
        assert ((await limiter.headroom("openai:a")).tokens or 0) >= 500
        assert (await limiter.reserve("openai:b", 300)).granted
        assert (await limiter.reserve("anthropic:c", 10**6)).granted, "it has no limit"


@pytest.mark.usefixtures("prefect_server")
async def test_the_configuration_is_what_holds() -> None:
    for rpm in (30, 90):
        async with prefect_limiter({"openai:changed": RateLimits(rpm=rpm)}):
            pass
    async with get_client() as client:
        name = limit_name("openai:changed", "rpm")
        found = await client.read_global_concurrency_limit_by_name(name)
    assert (found.limit, found.slot_decay_per_second) == (90, 1.5)


@pytest.mark.usefixtures("prefect_server")
async def test_a_server_that_is_not_there_is_said_so() -> None:
    nobody = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"})
    limiter = prefect_limiter({"openai": RateLimits(rpm=1)})
    with nobody, pytest.raises(EnvironmentUnusableError, match="Prefect server"):
        await limiter.__aenter__()
