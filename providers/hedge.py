"""Two deployments asked the same: the first answer counts, the other is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Try = Coroutine[Any, Any, T | None]


async def first_answer(
    first: Try[T],
    after_seconds: float,
    second: Callable[[], Awaitable[Try[T] | None]],
) -> T | None:
    """The first result that is not ``None``, of ``first`` and, when that takes long, of another.

    ``second`` is asked for the other once, ``after_seconds`` after the first began; it may have
    none. Whatever happens, neither is left running. An exception of either is raised at once.
    """
    tries = [asyncio.ensure_future(first)]
    try:
        done, _ = await asyncio.wait(tries, timeout=after_seconds)
        if not done and (other := await second()) is not None:
            tries.append(asyncio.ensure_future(other))
        for ended in asyncio.as_completed(tries):
            answer = await ended
            if answer is not None:
                return answer
        return None
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
