from __future__ import annotations

import resource
from pathlib import Path

import pytest

from core.errors import CorruptRecordError
from tasks.journal import AttemptFailed, CallBegun, CallFailed, Journal


def test_an_attempt_cut_short_goes_on_under_its_number(tmp_path: Path) -> None:
    assert Journal(tmp_path / "j").begin_attempt("a", "fp", "setup") == 1
    assert Journal(tmp_path / "j").begin_attempt("a", "fp", "setup") == 1


@pytest.mark.parametrize(("print_", "setup"), [("other", "setup"), ("fp", "other")])
def test_other_inputs_or_another_setup_make_a_new_attempt(
    tmp_path: Path, print_: str, setup: str
) -> None:
    journal = Journal(tmp_path / "j")
    journal.begin_attempt("a", "fp", "setup")
    assert journal.begin_attempt("a", print_, setup) == 2


def test_an_honest_failure_makes_a_new_attempt_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.begin_attempt("a", "fp", "setup")
    journal.append(AttemptFailed(step_id="a", attempt=1, reason="wrong"))
    again = Journal(tmp_path / "j")
    assert again.current_attempt("a", "fp") is None
    assert again.begin_attempt("a", "fp", "setup") == 2


def test_a_call_is_in_flight_until_it_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(CallBegun(key="k", kind="model", request_hash="h"))
    assert Journal(tmp_path / "j").in_flight("k") == 1
    journal.append(CallFailed(key="k"))
    assert Journal(tmp_path / "j").in_flight("k") == 0


def test_a_torn_last_line_is_cut_off_and_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).begin_attempt("a", "fp", "setup")
    with path.open("ab") as file:
        file.write(b'{"entry":"attempt_fai')
    journal = Journal(path)
    journal.append(AttemptFailed(step_id="a", attempt=1, reason="x"))
    assert Journal(path).begin_attempt("a", "fp", "setup") == 2


def test_a_damaged_line_in_the_middle_is_loud(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).begin_attempt("a", "fp", "setup")
    path.write_bytes(b"garbage\n" + path.read_bytes())
    with pytest.raises(CorruptRecordError, match="line 1"):
        Journal(path)


def test_a_line_that_does_not_fit_leaves_the_journal_readable(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.begin_attempt("a", "fp", "setup")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
        with pytest.raises(OSError, match="No space left"):
            journal.append(AttemptFailed(step_id="a", attempt=1, reason="x"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert journal.begin_attempt("a", "fp", "setup") == 1
    journal.append(AttemptFailed(step_id="a", attempt=1, reason="y"))
    assert Journal(path).begin_attempt("a", "fp", "setup") == 2
