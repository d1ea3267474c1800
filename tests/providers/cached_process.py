"""One of several processes with one cache: ``python -m … HOME URL [REDIS_URL]`` asks one question.

Prints the answer as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pydantic import SecretStr

from core.completion import CompletionRequest
from core.message import user
from core.provider_settings import CacheSettings, RouteSettings
from core.settings import Settings
from providers.factory import build_router
from tests.fakes.credentials import credentials


async def ask(home: Path, url: str, redis_url: str) -> str:
    redis = SecretStr(redis_url) if redis_url else None
    route = RouteSettings(deployments=("openai:gpt-6-sol",), cache_ttl_seconds=60)
    settings = Settings(
        home=home,
        credentials=credentials(openai=url),
        routes={"default": route},
        cache=CacheSettings(redis_url=redis, redis_timeout_seconds=5),
    )
    router = build_router(settings)
    try:
        request = CompletionRequest(messages=(user("hello"),))
        answer = await router.generate_completion(request)
    finally:
        await router.close()
    return json.dumps({"text": answer.text, "cache_hit": answer.cache_hit})


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(ask(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
