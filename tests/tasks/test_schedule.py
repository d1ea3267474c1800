"""The scheduler over random graphs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.schedule import Work, run_dag


@dataclass
class Recorder:
    """Executes steps in a few loop turns and notes what ran when, and next to how many others."""

    fails: frozenset[str] = frozenset()
    raises: frozenset[str] = frozenset()
    done: set[str] = field(default_factory=set[str])
    executed: list[str] = field(default_factory=list[str])
    skipped: list[str] = field(default_factory=list[str])
    now: int = 0
    most: int = 0
    depends_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def work(self) -> Work[str]:
        return Work(self.execute, self.skip, lambda _, outcome: outcome == "ok")

    async def execute(self, step: str, upstream: Mapping[str, str]) -> str:
        assert set(upstream) == set(self.depends_on[step])
        assert set(self.depends_on[step]) <= self.done
        self.executed.append(step)
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(len(step) % 4):
            await asyncio.sleep(0)
        self.now -= 1
        if step in self.raises:
            raise ValueError(step)
        self.done.add(step)
        return "bad" if step in self.fails else "ok"

    async def skip(self, step: str, upstream: Mapping[str, str]) -> str:
        assert any(outcome != "ok" for outcome in upstream.values())
        self.skipped.append(step)
        self.done.add(step)
        return "skipped"


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    size = draw(st.integers(1, 14))
    names = [f"s{i}" * (i % 3 + 1) for i in range(size)]
    graph = {
        name: tuple(draw(st.sets(st.sampled_from(names[:i])))) if i else ()
        for i, name in enumerate(names)
    }
    return dict(draw(st.permutations(list(graph.items()))))


def _below(graph: Mapping[str, tuple[str, ...]], roots: frozenset[str]) -> set[str]:
    found: set[str] = set()
    while more := {s for s, needs in graph.items() if set(needs) & (roots | found)} - found:
        found |= more
    return found


@given(graphs(), st.integers(1, 4), st.data())
@settings(max_examples=150, deadline=None)
def test_every_step_is_executed_once_after_its_dependencies_or_skipped_below_a_failure(
    graph: dict[str, tuple[str, ...]], limit: int, data: st.DataObject
) -> None:
    fails = frozenset(data.draw(st.sets(st.sampled_from(sorted(graph)))))
    recorder = Recorder(fails=fails, depends_on=graph)
    outcomes = asyncio.run(run_dag(graph, recorder.work(), asyncio.Semaphore(limit)))
    executed = frozenset(recorder.executed)
    assert sorted([*recorder.executed, *recorder.skipped]) == sorted(graph)
    assert set(recorder.skipped) == _below(graph, fails & executed)
    assert recorder.most <= limit
    assert outcomes.keys() == graph.keys()


async def test_independent_steps_run_at_the_same_time_up_to_the_limit() -> None:
    graph: dict[str, tuple[str, ...]] = {f"s{i}x": () for i in range(6)}
    recorder = Recorder(depends_on=graph)
    await run_dag(graph, recorder.work(), asyncio.Semaphore(4))
    assert recorder.most == 4


async def test_an_exception_of_the_work_cancels_what_is_under_way() -> None:
    cancelled: list[str] = []

    async def execute(step: str, upstream: Mapping[str, str]) -> str:
        if step == "bad":
            raise ValueError(step)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(step)
            raise
        return "ok"

    work = Work(execute, execute, lambda _, outcome: outcome == "ok")
    with pytest.raises(ValueError, match="bad"):
        await run_dag({"slow": (), "bad": ()}, work, asyncio.Semaphore(2))
    assert cancelled == ["slow"]
