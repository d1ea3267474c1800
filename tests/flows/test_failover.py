"""A first provider in trouble: the step succeeds on the second, and the rows say so."""

from __future__ import annotations

import pytest

from core.plan import Plan, PlanStep
from providers.router import DeploymentRouter
from tasks.services import open_services
from tests.fakes import diamond
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Fault
from tests.fakes.scripts import always
from tests.flows.conftest import Stage

CONFIG = """
[providers.first]
kind = "openai"
api_key = "a"
base_url = "{first}"
model = "gpt-first"
timeout_seconds = 5

[providers.second]
kind = "anthropic"
api_key = "b"
base_url = "{second}"
model = "claude-second"

[routes.default]
deployments = ["first", "second"]
"""

TROUBLE = {
    "RateLimitedError": Fault(status=429, headers={"retry-after": "30"}),
    "OverloadedError": Fault(status=500),
    "ProviderConnectionError": Fault(kind="cut_midway"),
    "ProviderTimeoutError": Fault(kind="hang"),
}


@pytest.mark.parametrize("error", TROUBLE)
async def test_the_step_succeeds_on_the_second_provider(stage: Stage, error: str) -> None:
    step = PlanStep(id="s001", title="One", instructions="Do the work of s001.", timeout_seconds=60)
    work = Plan(title="Failover", steps=(step,), summarize=False)
    stage.home.mkdir()
    async with FakeModelServer(always(TROUBLE[error])) as first:
        stage.model.script = diamond.script
        urls = {"first": first.openai_url, "second": stage.model.anthropic_url}
        (stage.home / "manus.toml").write_text(CONFIG.format(**urls), encoding="utf-8")
        state, report = await stage.run(work)
    assert state.is_completed(), state.message
    rows = [r for r in stage.rows(report) if r.kind == "model_call"]
    failed = [r for r in rows if r.outcome == "error"]
    answered = [r for r in rows if r.outcome == "ok"]
    assert failed
    assert {(r.deployment, r.error_type, r.try_index) for r in failed} == {
        ("first:gpt-first", error, 0)
    }
    assert {(r.deployment, r.request_model) for r in answered} == {
        ("second:claude-second", "claude-second")
    }
    assert answered[0].try_index == 1
    assert {r.model for r in stage.model.requests} == {"claude-second"}


async def test_a_route_that_learns_begins_with_what_earlier_runs_saw(stage: Stage) -> None:
    stage.home.mkdir()
    stage.model.script = diamond.script
    urls = {"first": "http://127.0.0.1:9/v1", "second": stage.model.anthropic_url}
    config = CONFIG.format(**urls) + 'strategy = "latency"\nseed = 1\n'
    (stage.home / "manus.toml").write_text(config, encoding="utf-8")
    step = PlanStep(id="s001", title="One", instructions="Do the work of s001.")
    work = Plan(title="Learning", steps=(step,), summarize=False)
    _, report = await stage.run(work)
    assert report.status == "completed"
    async with open_services() as services:
        assert isinstance(services.router, DeploymentRouter)
        seen = {d.deployment: d for d in await services.router.snapshot()}
    assert seen["second:claude-second"].error_rate == 0.0
    assert seen["second:claude-second"].first_token_seconds is not None
