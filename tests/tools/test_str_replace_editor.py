import base64
import json
from pathlib import Path

import pytest

from tools.base import ToolContext, ToolResult
from tools.edit_history import KEPT_EDITS
from tools.invoke import invoke
from tools.str_replace_editor import StrReplaceEditor
from tools.workspace import StepDirectory, Workspace


async def edit(directory: StepDirectory, command: str, path: str, **options: object) -> ToolResult:
    tool = StrReplaceEditor().bind(ToolContext(directory))
    return await invoke(tool, {"command": command, "path": path, **options})


def put(directory: StepDirectory, name: str, content: bytes) -> Path:
    path = directory.path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"all:\n\tcc a.c\n\n", b"all:\n\tcc b.c\n\n"),
        (b"one\r\n a.c \r\nthree", b"one\r\n b.c \r\nthree"),
        (b"\xef\xbb\xbfa.c\n", b"\xef\xbb\xbfb.c\n"),
        (b"caf\xe9 a.c\n", b"caf\xe9 b.c\n"),
        ("é a.c\n".encode("utf-16"), "é b.c\n".encode("utf-16")),
        (b"x\x0ca.c\x0b\n", b"x\x0cb.c\x0b\n"),
    ],
    ids=["tabs", "CRLF", "byte order mark", "latin-1", "utf-16", "form feed"],
)
async def test_a_replacement_changes_nothing_else(
    directory: StepDirectory, before: bytes, after: bytes
) -> None:
    file = put(directory, "file", before)
    result = await edit(directory, "str_replace", "file", old_str="a.c", new_str="b.c")
    assert not result.is_error, result.text
    assert file.read_bytes() == after
    await edit(directory, "undo_edit", "file")
    assert file.read_bytes() == before


async def test_line_ends_of_the_file_are_used_where_the_model_writes_plain_ones(
    directory: StepDirectory,
) -> None:
    file = put(directory, "file", b"a\r\nb\r\nc\r\n")
    await edit(directory, "str_replace", "file", old_str="a\nb", new_str="x\ny")
    await edit(directory, "insert", "file", insert_line=3, insert_text="d\n")
    assert file.read_bytes() == b"x\r\ny\r\nc\r\nd\r\n"


@pytest.mark.parametrize(
    ("text", "old", "told"),
    [
        ("aXa\nbXb\n", "X", "occurs 2 times, in lines 1, 2"),
        ("ababa\n", "aba", "occurs 2 times"),
        ("abc\n", "x", "does not occur"),
        ("abc\n", "", "empty"),
    ],
)
async def test_only_a_single_occurrence_is_replaced(
    directory: StepDirectory, text: str, old: str, told: str
) -> None:
    file = put(directory, "file", text.encode())
    result = await edit(directory, "str_replace", "file", old_str=old, new_str="y")
    assert result.is_error
    assert told in result.text
    assert file.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("before", "line", "after"),
    [
        (b"a\nb\n", 0, b"new\na\nb\n"),
        (b"a\nb\n", 1, b"a\nnew\nb\n"),
        (b"a\nb", 2, b"a\nb\nnew"),
        (b"", 0, b"new\n"),
    ],
)
async def test_an_insertion_is_a_line_of_its_own(
    directory: StepDirectory, before: bytes, line: int, after: bytes
) -> None:
    file = put(directory, "file", before)
    await edit(directory, "insert", "file", insert_line=line, new_str="new")
    assert file.read_bytes() == after


async def test_insertion_beyond_the_end_is_refused(directory: StepDirectory) -> None:
    put(directory, "file", b"a\n")
    result = await edit(directory, "insert", "file", insert_line=5, insert_text="x")
    assert "insert_line must be 0 to 1" in result.text


async def test_undoing_a_creation_removes_the_file(directory: StepDirectory) -> None:
    await edit(directory, "create", "sub/new.txt", file_text="hi")
    assert (directory.path / "sub/new.txt").read_text(encoding="utf-8") == "hi"
    await edit(directory, "undo_edit", "sub/new.txt")
    assert not (directory.path / "sub/new.txt").exists()
    assert "no edit to undo" in (await edit(directory, "undo_edit", "sub/new.txt")).text


async def test_edits_are_undone_one_by_one_by_another_process_and_spelling(
    workspace: Workspace,
) -> None:
    file = put(workspace.step("own"), "file", b"0\n")
    for number in range(3):
        old, new = str(number), str(number + 1)
        await edit(workspace.step("own"), "str_replace", "file", old_str=old, new_str=new)
    for number in (2, 1, 0):
        again = Workspace(workspace.root).step("own")
        assert not (await edit(again, "undo_edit", "/workspace/own/./file")).is_error
        assert file.read_text(encoding="utf-8") == f"{number}\n"


async def test_an_edit_by_someone_else_is_not_overwritten_by_undo(
    directory: StepDirectory,
) -> None:
    file = put(directory, "file", b"a\n")
    await edit(directory, "str_replace", "file", old_str="a", new_str="b")
    file.write_text("theirs\n", encoding="utf-8")
    result = await edit(directory, "undo_edit", "file")
    assert "changed since its last edit" in result.text
    assert file.read_text(encoding="utf-8") == "theirs\n"


async def test_an_edit_whose_process_died_before_writing_is_no_edit(
    directory: StepDirectory,
) -> None:
    file = put(directory, "file", b"a\n")
    await edit(directory, "str_replace", "file", old_str="a", new_str="b")
    [record] = (directory.path / ".manus/undo").rglob("1.json")
    unwritten = json.loads(record.read_text(encoding="utf-8"))
    unwritten |= {"number": 2, "before": base64.b64encode(b"b\n").decode(), "after_sha256": "0"}
    record.with_name("2.json").write_text(json.dumps(unwritten), encoding="utf-8")
    await edit(directory, "undo_edit", "file")
    assert file.read_bytes() == b"a\n"


async def test_old_edits_are_forgotten(directory: StepDirectory) -> None:
    put(directory, "file", b"0\n")
    for number in range(KEPT_EDITS + 5):
        await edit(
            directory, "str_replace", "file", old_str=f"{number}\n", new_str=f"{number + 1}\n"
        )
    assert len(list((directory.path / ".manus/undo").rglob("*.json"))) == KEPT_EDITS


async def test_binary_files_are_refused_clearly(directory: StepDirectory) -> None:
    put(directory, "image", b"\x89PNG\0\0")
    for command, options in (("view", {}), ("str_replace", {"old_str": "P", "new_str": "Q"})):
        result = await edit(directory, command, "image", **options)
        assert "is binary (6 bytes)" in result.text


async def test_a_character_the_encoding_lacks_is_an_error(directory: StepDirectory) -> None:
    file = put(directory, "file", b"caf\xe9\n")
    result = await edit(directory, "str_replace", "file", old_str="caf", new_str="€")
    assert "latin-1, which has no '€'" in result.text
    assert file.read_bytes() == b"caf\xe9\n"


async def test_view_shows_numbers_ranges_and_two_levels_of_a_directory(
    directory: StepDirectory,
) -> None:
    put(directory, "file", b"a\nb\nc\n")
    (directory.path / "one/two/three").mkdir(parents=True)
    (directory.path / ".hidden").touch()
    assert (await edit(directory, "view", "file", view_range=[2, -1])).output == (
        "     2\tb\n     3\tc"
    )
    assert "has lines 1 to 3" in (await edit(directory, "view", "file", view_range=[2, 9])).text
    assert (await edit(directory, "view", ".")).output == "file\none/\none/two/"


async def test_a_view_is_as_long_as_asked(directory: StepDirectory) -> None:
    put(directory, "file", b"abcdefgh\n" * 100)
    result = await edit(directory, "view", "file", max_characters=200)
    assert len(result.output) < 300
    assert "of 100; view a range" in result.output


async def test_a_name_with_shell_syntax_is_only_a_name(directory: StepDirectory) -> None:
    (directory.path / "$(touch hacked)").mkdir()
    assert (await edit(directory, "view", "$(touch hacked)")).output == "(empty directory)"
    assert not (directory.path / "hacked").exists()


async def test_others_files_can_be_viewed_and_not_edited(workspace: Workspace) -> None:
    put(workspace.step("first"), "file", b"a\n")
    second = workspace.step("second", ["first"])
    assert "a" in (await edit(second, "view", "../first/file")).output
    result = await edit(second, "str_replace", "../first/file", old_str="a", new_str="b")
    assert "read-only" in result.text
    assert second.list_files() == ()


@pytest.mark.parametrize("command", ["create", "str_replace", "insert"])
async def test_a_missing_argument_is_named(directory: StepDirectory, command: str) -> None:
    assert f"'{command}' needs" in (await edit(directory, command, "file")).text
