"""One of several processes under limits in Prefect: ``python -m … SECONDS``; prints what it got."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from core.provider_settings import RateLimits
from tasks.prefect_limiter import prefect_limiter

LIMITS = {"openai:two/processes": RateLimits(rpm=12)}


async def take_for(seconds: float) -> dict[str, float]:
    async with prefect_limiter(LIMITS) as limiter:
        began = time.time()
        granted = refused = 0
        while time.time() - began < seconds:
            reservation = await limiter.reserve("openai:two/processes", 1)
            granted += reservation.granted
            refused += not reservation.granted
            await asyncio.sleep(0.05)
        return {"granted": granted, "refused": refused, "began": began, "ended": time.time()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(take_for(float(sys.argv[1])))))
