import hashlib
import os
from pathlib import Path

import pytest

from core.errors import BadInputError, ToolFailedError
from tools import step_files
from tools.workspace import SANDBOX_UID, DigestCache, FileState, StepDirectory, Workspace


def test_a_data_file_is_copied_and_described(workspace: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "sales.csv"
    source.write_text("a,b\n", encoding="utf-8")
    reference = workspace.add_data_file(source)
    assert reference.path == "../data/sales.csv"
    assert reference.sha256 == hashlib.sha256(b"a,b\n").hexdigest()
    assert step_files.read_bytes(workspace.step("own"), reference.path) == b"a,b\n"


def test_two_data_files_of_one_name_are_an_error_that_names_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    source = tmp_path / "sales.csv"
    source.write_text("a", encoding="utf-8")
    workspace.add_data_file(source)
    with pytest.raises(BadInputError, match=r"sales\.csv"):
        workspace.add_data_file(source)


@pytest.mark.parametrize(
    "path", ["x", "./x", "sub/../x", "/workspace/own/x", "../own/x", "{root}/own/x"]
)
def test_every_spelling_of_an_own_path_is_the_same_place(
    directory: StepDirectory, path: str
) -> None:
    place = directory.locate(path.replace("{root}", str(directory.root)))
    assert (place.name, place.relative, place.writable) == ("own", "x", True)


@pytest.mark.parametrize(
    "path", ["", "a\0b", "/etc/passwd", "..", "../..", "../other/x", "/workspace", "../../x", "/"]
)
def test_what_a_step_may_not_reach_is_refused(workspace: Workspace, path: str) -> None:
    workspace.step("other")
    with pytest.raises(ToolFailedError):
        workspace.step("own", ["dependency"]).locate(path)


def test_a_dependency_can_be_read_and_not_written(workspace: Workspace) -> None:
    first = workspace.step("first")
    step_files.write_bytes(first, "out.txt", b"1")
    second = workspace.step("second", ["first"])
    assert step_files.read_bytes(second, "../first/out.txt") == b"1"
    for change in (
        lambda: step_files.write_bytes(second, "../first/out.txt", b"2"),
        lambda: step_files.remove(second, "../first/out.txt"),
        lambda: step_files.move(second, "../first/out.txt", "mine"),
        lambda: step_files.write_bytes(second, "../data/new", b"2"),
    ):
        with pytest.raises(ToolFailedError, match="read-only"):
            change()
    assert step_files.read_bytes(first, "out.txt") == b"1"


def test_only_plain_files_are_listed(directory: StepDirectory, tmp_path: Path) -> None:
    step_files.write_bytes(directory, "b/c.txt", b"x")
    step_files.write_bytes(directory, "a.txt", b"y")
    step_files.write_bytes(directory, ".manus/undo/1", b"z")
    (directory.path / "link").symlink_to("a.txt")
    os.mkfifo(directory.path / "pipe")
    (directory.path / "to-directory").symlink_to(tmp_path)
    with open(os.path.join(os.fsencode(directory.path), b"\xff"), "wb"):
        pass
    assert [file.path for file in directory.list_files()] == ["a.txt", "b/c.txt"]


def test_unchanged_files_are_not_read_again(directory: StepDirectory) -> None:
    step_files.write_bytes(directory, "a", b"1")
    cache: DigestCache = {}
    directory.list_files(cache)
    [state] = cache
    cache[state] = "remembered"
    assert directory.list_files(cache)[0].sha256 == "remembered"
    step_files.write_bytes(directory, "a", b"2")
    assert directory.list_files(cache)[0].sha256 == hashlib.sha256(b"2").hexdigest()
    assert isinstance(state, FileState)


def test_a_write_is_whole_and_keeps_the_mode(directory: StepDirectory) -> None:
    step_files.write_bytes(directory, "run.sh", b"1")
    (directory.path / "run.sh").chmod(0o755)
    step_files.write_bytes(directory, "run.sh", b"2")
    assert (directory.path / "run.sh").stat().st_mode & 0o777 == 0o755
    assert [p.name for p in directory.path.iterdir()] == ["run.sh"]


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "hard link"])
def test_a_write_replaces_only_a_plain_file(
    directory: StepDirectory, tmp_path: Path, kind: str
) -> None:
    target, outside = directory.path / "target", tmp_path / "outside"
    outside.write_text("mine", encoding="utf-8")
    make = {
        "link": lambda: target.symlink_to(outside),
        "fifo": lambda: os.mkfifo(target),
        "directory": target.mkdir,
        "hard link": lambda: os.link(outside, target),
    }
    make[kind]()
    with pytest.raises(ToolFailedError):
        step_files.write_bytes(directory, "target", b"theirs")
    assert outside.read_text(encoding="utf-8") == "mine"
    assert [p.name for p in directory.path.iterdir()] == ["target"]


def test_a_move_does_not_replace(directory: StepDirectory) -> None:
    step_files.write_bytes(directory, "a", b"1")
    step_files.write_bytes(directory, "b", b"2")
    with pytest.raises(ToolFailedError, match="exists already"):
        step_files.move(directory, "a", "b")
    step_files.move(directory, "a", "sub/c")
    assert step_files.read_bytes(directory, "sub/c") == b"1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_as_root_everything_a_step_has_belongs_to_the_sandboxs_user(
    directory: StepDirectory,
) -> None:
    step_files.write_bytes(directory, "sub/a", b"1")
    for path in (directory.path, directory.path / "sub", directory.path / "sub" / "a"):
        assert path.stat().st_uid == SANDBOX_UID
    assert directory.path.stat().st_mode & 0o077 == 0
