"""Runs or resumes a run in this process and kills it with SIGKILL at a named point.

``python -m tests.flows.kill_driver POINT NUMBER (GOAL | --resume RUN)``: at the NUMBER-th time the
point is reached. The points are between the steps of the durability protocol, where a kill hurts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from core.completion import Completion, CompletionRequest
from core.ports import CallEstimate, FailedTry, Router, UsageSink
from core.run import RunOptions
from core.settings import load_settings
from core.usage import UsageEvent
from gateway.server import ensure_server, point_prefect_at
from tasks.services import Services, open_services, using
from tools.sandbox.base import Level, Sandbox, SandboxCommand, SandboxOutcome

Trigger = Callable[[], None]


def trigger(number: int) -> Trigger:
    left = [number]

    def reached() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


class KillingRouter:
    """Dies with an answer in hand that nobody has committed."""

    def __init__(self, inner: Router, reached: Trigger) -> None:
        self._inner, self._reached = inner, reached

    async def generate_completion(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
    ) -> Completion:
        answer = await self._inner.generate_completion(request, on_failed_try=on_failed_try)
        self._reached()
        return answer

    def check_route(self, route: str) -> None:
        self._inner.check_route(route)

    def deployments_of(self, route: str) -> tuple[str, ...]:
        return self._inner.deployments_of(route)

    def estimate_call(self, request: CompletionRequest) -> CallEstimate:
        return self._inner.estimate_call(request)

    def context_window(self, route: str) -> int | None:
        return self._inner.context_window(route)

    async def close(self) -> None:
        await self._inner.close()

    @property
    def uses_only_local_model(self) -> bool:
        return self._inner.uses_only_local_model


class KillingSink:
    """Dies after the commit and before the usage row."""

    def __init__(self, inner: UsageSink, reached: Trigger) -> None:
        self._inner, self._reached = inner, reached

    def emit(self, event: UsageEvent) -> None:
        if event.kind == "model_call":
            self._reached()
        self._inner.emit(event)


class KillingSandbox:
    """Dies while the tool runs."""

    def __init__(self, inner: Sandbox, reached: Trigger) -> None:
        self._inner, self._reached = inner, reached

    @property
    def level(self) -> Level:
        return self._inner.level

    async def probe(self) -> None:
        await self._inner.probe()

    async def run(self, command: SandboxCommand) -> SandboxOutcome:
        asyncio.get_running_loop().call_later(0.15, self._reached)
        return await self._inner.run(command)

    async def close(self) -> None:
        await self._inner.close()


def killed_at(point: str, number: int, services: Services) -> Services:
    from tasks.store import RecordStorage

    reached = trigger(number)

    class KillingStorage(RecordStorage):
        """Dies with half of a result file written."""

        _block_type_name = "Killing storage"

        def write_whole(self, target: Path, content: bytes) -> None:
            half = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
            half.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(content[: len(content) // 2])
            reached()
            half.unlink()
            super().write_whole(target, content)

    match point:
        case "answered":
            return replace(services, router=KillingRouter(services.router, reached))
        case "committed":
            return replace(services, sink=KillingSink(services.sink, reached))
        case "tool":
            return replace(services, sandbox=KillingSandbox(services.sandbox, reached))
        case "writing":
            storage = KillingStorage(basepath=str(services.settings.home / "results"))
            return replace(services, storage=storage)
        case _:
            raise ValueError(point)


async def main(point: str, number: int, options: RunOptions, goal: str) -> Any:
    settings = load_settings()
    point_prefect_at(ensure_server(settings), settings)
    async with open_services(settings) as services:
        from flows.planning import plan_and_run

        with using(killed_at(point, number, services)):
            return await plan_and_run(goal=goal, options=options)


if __name__ == "__main__":
    _, named, times, *rest = sys.argv
    resumed = rest[1] if rest[0] == "--resume" else None
    asyncio.run(
        main(named, int(times), RunOptions(resume_from=resumed), "" if resumed else rest[0])
    )
