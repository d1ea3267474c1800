"""``manus cache``, as it is typed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.completion import Completion, StopReason
from core.errors import BadInputError
from core.message import TextPart
from core.provider_settings import CacheSettings
from core.result import Spend, StepResult
from gateway.cli.cache_entries import read_duration
from gateway.cli.main import app
from providers.response_cache_files import FileCacheStore
from providers.response_cache_store import CacheEntry
from tasks.step_cache import StepCache, StepIdentity
from tools.workspace import Workspace

SOL, LUNA = "openai:gpt-6-sol", "openai:gpt-6-luna"


def answer(key: str, deployment: str, route: str, age: timedelta) -> CacheEntry:
    then = datetime.now(UTC) - age
    completion = Completion(
        parts=(TextPart(text=f"said by {deployment}"),),
        stop_reason=StopReason.END,
        provider="openai",
        deployment=deployment,
        model=deployment.partition(":")[2],
        cost_usd=Decimal("0.25"),
    )
    return CacheEntry(
        key=key * 32,
        namespace="default",
        route=route,
        stored_at=then,
        expires_at=then + timedelta(days=2),
        completion=completion,
    )


@pytest.fixture
def kept(home: Path) -> Path:
    """Three answers, one of them expired, and a step with a file."""
    store = FileCacheStore(home / "cache", 10**6)
    for entry in (
        answer("a1", SOL, "default", timedelta()),
        answer("b2", LUNA, "default", timedelta(hours=30)),
        answer("c3", SOL, "other", timedelta(days=3)),
    ):
        asyncio.run(store.save(entry))
    directory = Workspace(home / "workspace").step("find")
    (directory.path / "f.txt").write_text("found", encoding="utf-8")
    result = StepResult(
        step_id="find",
        attempt=1,
        summary="done",
        files=directory.list_files(),
        spend=Spend(model_calls=2, cost_usd=Decimal("0.5")),
    )
    identity = StepIdentity("d4" * 32, "default", (SOL,))
    StepCache(home / "cache", CacheSettings()).keep(identity, "run-1", result, directory)
    return home


def manus(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["cache", *words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_stats_count_by_kind_route_and_model_and_tell_what_a_hit_is_worth(kept: Path) -> None:
    document = manus("stats")
    groups = {(g["kind"], g["route"], *g["models"]): g for g in document["groups"]}
    assert {k: g["entries"] for k, g in groups.items()} == {
        ("answer", "default", LUNA): 1,
        ("answer", "default", SOL): 1,
        ("answer", "other", SOL): 1,
        ("step", "default", SOL): 1,
    }
    assert [g["expired"] for g in groups.values()] == [0, 0, 1, 0]
    assert groups["step", "default", SOL]["cost_usd"] == "0.5"
    assert document["files"] == {"files": 1, "size_bytes": 5}
    assert document["newest"][0]["key"] == "d4" * 32


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ((), []),
        (("--route", "other"), ["a1", "b2", "d4"]),
        (("--model", "gpt-6-luna"), ["a1", "c3", "d4"]),
        (("--model", SOL), ["b2"]),
        (("--older-than", "1d"), ["a1", "d4"]),
        (("--older-than", "1d", "--route", "default"), ["a1", "c3", "d4"]),
        (("--older-than", "4d"), ["a1", "b2", "c3", "d4"]),
    ],
)
def test_clear_removes_what_is_named_and_nothing_else(
    kept: Path, words: tuple[str, ...], left: list[str]
) -> None:
    removed = manus("clear", *words)["removed"]
    assert removed["answers"] + removed["steps"] == 4 - len(left)
    assert sorted(e["key"][:2] for e in manus("stats")["newest"]) == left


def test_show_takes_the_beginning_of_a_key_and_gives_the_whole_entry(kept: Path) -> None:
    assert manus("show", "b2b2")["completion"]["parts"][0]["text"] == f"said by {LUNA}"
    shown = manus("show", "d4")
    assert (shown["kind"], shown["run_key"], shown["result"]["summary"]) == (
        "step",
        "run-1",
        "done",
    )


def test_a_key_that_is_not_there_is_bad_input(kept: Path) -> None:
    assert manus("show", "ff", code=2)["error"] == "BadInputError"
    assert manus("clear", "--older-than", "soon", code=2)["error"] == "BadInputError"


def test_without_json_there_is_a_table(kept: Path) -> None:
    done = CliRunner().invoke(app, ["cache", "stats"])
    assert done.exit_code == 0
    assert LUNA in done.stdout
    assert "files of steps: 1" in done.stdout


def test_a_redis_that_is_not_there_is_told_and_not_taken_for_empty(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANUS_CACHE__REDIS_URL", "redis://127.0.0.1:1/0")
    assert manus("stats", code=3)["error"] == "EnvironmentUnusableError"


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("1.5h", 5400), ("2d", 172_800)]
)
def test_ages_are_read(text: str, seconds: float) -> None:
    assert read_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "1", "d", "1w", "-1d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="not an age"):
        read_duration(text)
