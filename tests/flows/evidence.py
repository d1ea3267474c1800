"""What a run left behind, read from outside: its records, its journal, the fake's requests."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analytics.queries import calls_of
from analytics.reader import open_usage
from core.usage import UsageEvent
from tests.fakes.script import RecordedRequest

Call = tuple[str, int]
"""A model call: the step's id and the turn."""


def call_of(request: RecordedRequest) -> Call:
    """Which call of the run a request belongs to, by what it says."""
    if "create_plan" in request.tool_names:
        return ("_draft-plan", 1)
    if "terminate" not in request.tool_names:
        return ("_summarize", 1)
    step = re.search(r"Do the work of (s\d+)", request.text)
    assert step, request.text[:300]
    return (step[1], 1 + sum(m["role"] == "assistant" for m in request.messages))


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of a run at one moment: what was begun and what is committed."""

    begun: Counter[Call]
    committed: frozenset[Call]
    tools_begun: Counter[str]
    tools_committed: frozenset[str]

    @property
    def in_flight(self) -> frozenset[Call]:
        return frozenset(self.begun) - self.committed


def moment(home: Path, run_key: str) -> Moment:
    begun: Counter[Call] = Counter()
    tools: Counter[str] = Counter()
    journal = home / "runs" / run_key / "journal.jsonl"
    for line in journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []:
        entry = json.loads(line)
        if entry["entry"] == "call_begun" and entry["kind"] == "model":
            begun[_model_call(entry["key"])] += 1
        elif entry["entry"] == "call_begun":
            tools[entry["key"].split("/")[1]] += 1
    records = [p for p in (home / "results" / run_key).rglob("*") if p.is_file()]
    whole = [p for p in records if not p.name.startswith(".")]
    return Moment(
        begun,
        frozenset(_model_call(str(p)) for p in whole if p.name.endswith("-model")),
        tools,
        frozenset(p.parts[-3] for p in whole if p.name.endswith("-tool")),
    )


def _model_call(key: str) -> Call:
    step, _, name = key.split("/")[-3:]
    return (step, int(name[1:4]))


def tool_runs(home: Path, run_key: str) -> Counter[str]:
    """How often each step's code ran, by the line that it adds to a file of its directory."""
    logs = (home / "runs" / run_key / "workspace").glob("*/ran.log")
    return Counter({p.parent.name: p.read_text(encoding="utf-8").count("ran") for p in logs})


def rows(home: Path, run_key: str) -> tuple[UsageEvent, ...]:
    with open_usage(home) as usage:
        return calls_of(usage, run_key)


def assert_nothing_was_paid_twice(
    moments: Sequence[Moment], requests: Sequence[RecordedRequest], home: Path, run_key: str
) -> None:
    """Every call was asked once, and once more for each kill that caught it in flight."""
    asked = Counter(call_of(r) for r in requests)
    for call, times in asked.items():
        caught = sum(call in m.in_flight for m in moments)
        assert times <= 1 + caught, f"{call} was asked {times} times, in flight at {caught} kills"
    for step, times in tool_runs(home, run_key).items():
        caught = sum(step in m.tools_begun and step not in m.tools_committed for m in moments)
        assert times <= 1 + caught, f"{step} ran {times} times, in flight at {caught} kills"
    model_rows = [r for r in rows(home, run_key) if r.kind == "model_call"]
    answered = Counter((r.step_id, r.turn) for r in model_rows if r.outcome == "ok")
    assert set(answered) == set(asked)
    assert set(answered.values()) == {1}
    lost = Counter((r.step_id, r.turn) for r in model_rows if r.outcome == "interrupted")
    for call, times in asked.items():
        assert times <= 1 + lost[call], f"{call}: a paid call without a row"
