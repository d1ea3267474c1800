"""One of several processes under a common rate limit: ``python -m … HOME URL``.

Calls until the limit holds it back, and prints what became of its calls as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from core.completion import CompletionRequest
from core.errors import AllDeploymentsFailedError
from core.message import user
from core.provider_settings import RateLimits, RouteSettings
from core.settings import Settings
from providers.admission import WaitLimits
from providers.factory import build_router
from providers.router import RouterLimits
from providers.tokens import estimate_request_tokens
from tests.fakes.credentials import credentials
from tests.fakes.script import Answer, RecordedRequest, ScriptedUsage

PROCESSES = 4
TPM = 20_000
OUTPUT_TOKENS = 188
MODEL = "gpt-6-sol"
REQUEST = CompletionRequest(messages=(user("hello"),), max_output_tokens=400)


def answer_with_usage(request: RecordedRequest) -> Answer:
    return Answer(text="hi", usage=ScriptedUsage(input=12, output=OUTPUT_TOKENS))


async def call_until_held_back(home: Path, url: str) -> dict[str, int]:
    settings = Settings(
        home=home,
        credentials=credentials(openai=url),
        routes={"default": RouteSettings(deployments=(f"openai:{MODEL}",))},
        limits={"openai": RateLimits(tpm=TPM)},
    )
    limits = RouterLimits(waits=WaitLimits(limits=0.5))
    router = build_router(settings, limits=limits)
    counts = {
        "answered": 0,
        "refused": 0,
        "estimate": estimate_request_tokens(REQUEST, model=MODEL),
    }
    counts["estimate"] += REQUEST.max_output_tokens or 0

    async def caller() -> None:
        while True:
            try:
                await router.generate_completion(REQUEST)
            except AllDeploymentsFailedError:
                counts["refused"] += 1
                return
            counts["answered"] += 1

    await asyncio.gather(*(caller() for _ in range(8)))
    await router.close()
    return counts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(call_until_held_back(Path(sys.argv[1]), sys.argv[2]))))
