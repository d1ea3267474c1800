"""One of several processes under a common budget: ``python -m … HOME URL``.

Calls, eight at a time, until the budget stops it; prints what was spent and said as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from pathlib import Path

from core.completion import CompletionRequest
from core.errors import BudgetExceededError
from core.message import user
from core.provider_settings import RouteSettings
from core.settings import Settings
from core.usage import BudgetSettings, SpendLimit
from providers.factory import build_router
from tasks.budget import spend_of
from tasks.spending import SpendingLedger, set_aside
from tests.fakes.credentials import credentials
from tests.fakes.script import Answer, RecordedRequest, ScriptedUsage

PROCESSES = 4
LIMIT_USD = Decimal("0.30")
USAGE = ScriptedUsage(input=1000, output=400)
"""At $2 and $10 per million tokens 0.6 cents; the estimate is a little more."""
MODEL = "gpt-6-sol"
REQUEST = CompletionRequest(messages=(user("word " * 1000),), max_output_tokens=400)
BUDGETS = BudgetSettings(tags={"team": SpendLimit(max_cost_usd=LIMIT_USD)})


def answer_with_usage(request: RecordedRequest) -> Answer:
    return Answer(text="hi", usage=USAGE)


async def call_until_stopped(home: Path, url: str) -> dict[str, object]:
    settings = Settings(
        home=home,
        credentials=credentials(openai=url),
        routes={"default": RouteSettings(deployments=(f"openai:{MODEL}",))},
    )
    router = build_router(settings)
    ledger = SpendingLedger(home, BUDGETS)
    spent: list[Decimal] = []
    said: list[str] = []

    async def caller() -> None:
        while True:
            try:
                estimate = router.estimate_call(REQUEST)
                async with set_aside(None, ledger, estimate, ("team", "other")) as bill:
                    answer = await router.generate_completion(REQUEST)
                    bill.spent = spend_of(answer)
            except BudgetExceededError as error:
                said.append(error.message)
                return
            spent.append(answer.cost_usd or Decimal(0))

    await asyncio.gather(*(caller() for _ in range(8)))
    estimate = router.estimate_call(REQUEST).cost_usd
    ledger.close()
    await router.close()
    return {"spent": str(sum(spent)), "said": said[0], "estimate": str(estimate)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(call_until_stopped(Path(sys.argv[1]), sys.argv[2]))))
