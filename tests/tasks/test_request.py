from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BadInputError, RunNotFoundError
from tasks.request import check_inputs, find_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("abc-1", "abd-2"):
        (tmp_path / "runs" / name / "workspace").mkdir(parents=True)
    return tmp_path


def test_a_run_is_found_by_the_beginning_of_its_key(runs: Path) -> None:
    assert find_run(runs, "abc") == "abc-1"


def test_an_ambiguous_beginning_names_the_runs(runs: Path) -> None:
    with pytest.raises(RunNotFoundError, match="ambiguous: abc-1, abd-2"):
        find_run(runs, "ab")


@pytest.mark.parametrize("name", ["", "*", "abc*", "/abc", "abc-1/work", "../runs/abc", "**x"])
def test_what_is_no_beginning_of_a_key_finds_nothing(runs: Path, name: str) -> None:
    with pytest.raises(RunNotFoundError, match="no run"):
        find_run(runs, name)


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = (tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv")
    for path in paths:
        path.parent.mkdir()
        path.touch()
    with pytest.raises(BadInputError, match=r"b/x\.csv: another input is named 'x\.csv'"):
        check_inputs(tuple(str(p) for p in paths))
