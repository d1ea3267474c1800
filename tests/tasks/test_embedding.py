"""Embeddings leave rows and count against the budget of the day."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from analytics.queries import recent_model_calls
from analytics.reader import open_usage
from core.errors import BudgetExceededError
from core.provider_settings import RouteSettings
from core.settings import Settings
from core.usage import BudgetSettings, SpendLimit, UsageEvent
from tasks.embedding import embed
from tasks.services import open_services
from tests.fakes.kinds import settings_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedUsage
from tests.fakes.wire_embeddings import vector_of

MODEL = "text-embedding-3-small"
LIMIT = SpendLimit(max_cost_usd=Decimal("0.00001"))


def rows(home: Path) -> tuple[UsageEvent, ...]:
    with open_usage(home) as usage:
        return recent_model_calls(usage, datetime(2020, 1, 1, tzinfo=UTC))


async def test_each_try_leaves_a_row_and_the_day_s_budget_holds(home: Path) -> None:
    def script(request: RecordedRequest) -> Answer | Fault:
        used = ScriptedUsage(input=1000)
        return Answer(usage=used) if "api-version" not in request.path else Fault(status=503)

    async with FakeModelServer(script) as server:
        settings = Settings(
            home=home,
            providers={k: settings_of(k, server, model=MODEL) for k in ("azure", "openai")},
            routes={"index": RouteSettings(deployments=(f"azure:{MODEL}", f"openai:{MODEL}"))},
            budgets=BudgetSettings(day=LIMIT),
        )
        async with open_services(settings) as services:
            answer = await embed(["a", "b"], "index", services=services)
            with pytest.raises(BudgetExceededError, match="max_cost_usd"):
                await embed(["c"], "index", services=services)
        assert len(server.requests) == 2
    assert answer.vectors == (vector_of("a"), vector_of("b"))
    failed, paid = sorted(rows(home), key=lambda row: row.try_index)
    assert (failed.operation_name, failed.error_type) == ("embeddings", "OverloadedError")
    assert (paid.deployment, paid.input_tokens, paid.try_index) == (f"openai:{MODEL}", 1000, 1)
    assert (paid.cost_usd, paid.cost_source) == (Decimal("0.00002"), "genai-prices")
    assert paid.price_version
