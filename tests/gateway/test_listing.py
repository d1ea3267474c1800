from __future__ import annotations

from pathlib import Path

from core.run import RunOptions
from gateway.cli.listing import list_runs
from tasks.request import REQUEST_FILE, RunRequest


def _saved(home: Path, key: str, *, only_drafts: bool) -> None:
    directory = home / "runs" / key
    directory.mkdir(parents=True)
    request = RunRequest(goal="g", plan=None, options=RunOptions(), only_drafts=only_drafts)
    (directory / REQUEST_FILE).write_text(request.model_dump_json(), encoding="utf-8")


def test_a_draft_of_a_plan_is_not_listed_as_an_interrupted_run(tmp_path: Path) -> None:
    _saved(tmp_path, "run", only_drafts=False)
    for number in range(3):
        _saved(tmp_path, f"draft-{number}", only_drafts=True)
    (listed,) = list_runs(tmp_path, limit=1)
    assert (listed.run_key, listed.status) == ("run", "interrupted")
