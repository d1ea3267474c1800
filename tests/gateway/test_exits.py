"""What a command does with a file that it is asked to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BadInputError
from gateway.cli.exits import write_file
from gateway.cli.plan import plan_command


def test_a_file_that_cannot_be_written_is_bad_input_and_named(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "page.html"
    with pytest.raises(BadInputError, match="No such file or directory"):
        write_file(target, "text")


def test_a_plan_is_not_drafted_for_a_place_where_it_cannot_be_kept(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "plan.yaml"
    with pytest.raises(BadInputError, match="no such directory"):
        plan_command("a goal", target, [], "default", as_json=False)
