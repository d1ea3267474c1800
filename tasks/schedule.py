"""The DAG scheduler: every step as soon as what it needs is there and a slot is free."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What the scheduler does with a step.

    ``execute`` runs it and ``skip`` settles it without running; both get the outcomes of the
    steps it depends on. ``passes`` tells whether an outcome lets dependants run. None of the
    three may raise for a step's own failure: that is an outcome. What they do raise stops all.
    """

    execute: Callable[[str, Mapping[str, T]], Awaitable[T]]
    skip: Callable[[str, Mapping[str, T]], Awaitable[T]]
    passes: Callable[[str, T], bool]


async def run_dag(
    depends_on: Mapping[str, Sequence[str]], work: Work[T], slots: asyncio.Semaphore
) -> dict[str, T]:
    """Settles every step and returns the outcomes by id.

    Args:
        depends_on: an acyclic graph; every dependency is itself a key.
        work: what to do with a step.
        slots: one for each step that may ``execute`` at the same time. A step that waits for
            something else may give its own back meanwhile.

    Raises the first exception of ``work``, after the steps under way were cancelled.
    """
    running: dict[str, asyncio.Task[T]] = {}

    async def settle(step_id: str) -> T:
        upstream = {d: await running[d] for d in depends_on[step_id]}
        if not all(work.passes(d, outcome) for d, outcome in upstream.items()):
            return await work.skip(step_id, upstream)
        async with slots:
            return await work.execute(step_id, upstream)

    try:
        async with asyncio.TaskGroup() as group:
            for step_id in depends_on:
                running[step_id] = group.create_task(settle(step_id), name=step_id)
    except ExceptionGroup as raised:
        raise raised.exceptions[0] from raised
    return {step_id: task.result() for step_id, task in running.items()}
