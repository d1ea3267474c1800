"""Kept steps and their files, without a run."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import ToolFailedError
from core.provider_settings import CacheSettings
from core.result import Spend, StepResult
from tasks.step_cache import KeptStep, StepCache, StepIdentity
from tools.workspace import StepDirectory, Workspace

KEY = "ab" * 32
IDENTITY = StepIdentity(KEY, "default", ("openai:gpt-6-sol",))


@pytest.fixture
def cache(tmp_path: Path) -> StepCache:
    return StepCache(tmp_path / "cache", CacheSettings())


@pytest.fixture
def directory(tmp_path: Path) -> StepDirectory:
    """With two files in it, one of them a program."""
    directory = Workspace(tmp_path / "one").step("find")
    (directory.path / "out").mkdir()
    (directory.path / "out/f.txt").write_text("found", encoding="utf-8")
    program = directory.path / "run.sh"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    return directory


def result(directory: StepDirectory) -> StepResult:
    spend = Spend(model_calls=3)
    files = directory.list_files()
    return StepResult(step_id="find", attempt=2, summary="done", files=files, spend=spend)


def found(cache: StepCache, ttl_seconds: float | None = 60) -> KeptStep:
    kept = cache.find(KEY, ttl_seconds)
    assert kept is not None
    return kept


def test_files_come_back_with_their_content_and_rights(
    cache: StepCache, directory: StepDirectory, tmp_path: Path
) -> None:
    cache.keep(IDENTITY, "run-1", result(directory), directory)
    other = Workspace(tmp_path / "other").step("find")
    cache.restore(found(cache), other)
    cache.restore(found(cache), other)
    assert other.list_files() == directory.list_files()
    modes = [stat.S_IMODE((other.path / f.path).stat().st_mode) for f in other.list_files()]
    assert modes == [0o644, 0o755]


def test_what_is_taken_over_is_the_new_runs_attempt_and_spends_nothing(
    cache: StepCache, directory: StepDirectory
) -> None:
    cache.keep(IDENTITY, "run-1", result(directory), directory)
    taken = found(cache).taken_over(1)
    assert (taken.attempt, taken.spend, taken.summary) == (1, Spend(), "done")
    assert taken.reused_from
    assert (taken.reused_from.run_key, taken.reused_from.spend.model_calls) == ("run-1", 3)
    assert 0 <= taken.reused_from.age_seconds < 60


def test_the_reader_says_how_old_a_step_may_be(cache: StepCache, directory: StepDirectory) -> None:
    cache.keep(IDENTITY, "run-1", result(directory), directory)
    old = found(cache).model_copy(
        update={"completed_at": datetime.now(UTC) - timedelta(seconds=100)}
    )
    cache.steps.write(KEY, old.model_dump_json().encode())
    assert cache.find(KEY, 90) is None
    assert found(cache, 110) == found(cache, None) == old


def test_a_file_that_changed_since_is_not_kept_and_neither_is_its_step(
    cache: StepCache, directory: StepDirectory
) -> None:
    finished = result(directory)
    (directory.path / "out/f.txt").write_text("something else", encoding="utf-8")
    with pytest.raises(ToolFailedError, match=r"out/f\.txt"):
        cache.keep(IDENTITY, "run-1", finished, directory)
    assert cache.find(KEY, None) is None


def test_a_link_put_in_the_place_of_a_file_is_not_followed(
    cache: StepCache, directory: StepDirectory, tmp_path: Path
) -> None:
    finished = result(directory)
    secret = tmp_path / "secret"
    secret.write_text("found", encoding="utf-8")
    (directory.path / "out/f.txt").unlink()
    (directory.path / "out/f.txt").symlink_to(secret)
    with pytest.raises(ToolFailedError, match="links are not followed"):
        cache.keep(IDENTITY, "run-1", finished, directory)


def test_a_damaged_file_is_removed_so_that_the_next_run_can_keep_it_again(
    cache: StepCache, directory: StepDirectory, tmp_path: Path
) -> None:
    cache.keep(IDENTITY, "run-1", result(directory), directory)
    kept = found(cache)
    damaged = kept.result.files[0].sha256
    cache.files.write(damaged, b"another")
    with pytest.raises(ToolFailedError, match="not the content"):
        cache.restore(kept, Workspace(tmp_path / "other").step("find"))
    assert not cache.files.has(damaged)
    assert cache.find(KEY, None) is None
    cache.keep(IDENTITY, "run-2", result(directory), directory)
    assert found(cache).run_key == "run-2"
