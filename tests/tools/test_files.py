import pytest

from tools.base import ToolContext, ToolResult
from tools.file_search import MAX_MATCHES
from tools.invoke import invoke
from tools.registry import default_registry
from tools.workspace import StepDirectory, Workspace


async def call(directory: StepDirectory, name: str, **arguments: object) -> ToolResult:
    return await invoke(default_registry().get(name).bind(ToolContext(directory)), arguments)


async def test_a_file_is_written_read_listed_moved_and_deleted(directory: StepDirectory) -> None:
    await call(directory, "write_file", path="a/b.txt", content="one\ntwo\n")
    assert (await call(directory, "read_file", path="a/b.txt")).output == "     1\tone\n     2\ttwo"
    assert (await call(directory, "list_files")).output == "a/\na/b.txt"
    await call(directory, "move_file", source="a/b.txt", target="c.txt")
    await call(directory, "delete_file", path="a")
    assert [file.path for file in directory.list_files()] == ["c.txt"]
    await call(directory, "delete_file", path="c.txt")
    assert directory.list_files() == ()


async def test_part_of_a_file_is_read(directory: StepDirectory) -> None:
    await call(directory, "write_file", path="a", content="1\n2\n3\n4\n")
    result = await call(directory, "read_file", path="a", first_line=2, last_line=3)
    assert result.output == "     2\t2\n     3\t3"
    assert (await call(directory, "read_file", path="a", first_line=9)).is_error


async def test_a_long_file_says_where_it_is_cut(directory: StepDirectory) -> None:
    await call(directory, "write_file", path="a", content="x" * 99 + "\n" * 2000)
    result = await call(directory, "read_file", path="a")
    assert len(result.output) < 17_000
    assert "of 2000; view a range" in result.output


async def test_lines_are_found_by_text_and_name(directory: StepDirectory) -> None:
    await call(directory, "write_file", path="a.py", content="x\nTODO: a\n")
    await call(directory, "write_file", path="sub/b.py", content="todo: b\n")
    await call(directory, "write_file", path="c.txt", content="TODO: c\n")
    (directory.path / "binary.py").write_bytes(b"TODO\0")
    found = await call(directory, "search_files", text="TODO", names="*.py")
    assert found.output == "a.py:2: TODO: a"
    found = await call(directory, "search_files", text="TODO", names="*.py", ignore_case=True)
    assert found.output == "a.py:2: TODO: a\nsub/b.py:1: todo: b"
    assert (await call(directory, "search_files", text="absent")).output == "No line matches."


async def test_matches_are_bounded(directory: StepDirectory) -> None:
    await call(directory, "write_file", path="a", content="x\n" * (MAX_MATCHES + 50))
    found = (await call(directory, "search_files", text="x")).output.splitlines()
    assert len(found) == MAX_MATCHES + 1
    assert "only the first" in found[-1]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read_file", {"path": "absent"}),
        ("read_file", {"path": "/etc/passwd"}),
        ("read_file", {"path": "../other/x"}),
        ("read_file", {"path": "link"}),
        ("list_files", {"path": "absent"}),
        ("write_file", {"path": ".", "content": ""}),
        ("write_file", {"path": "../data/x", "content": ""}),
        ("delete_file", {"path": "absent"}),
        ("delete_file", {"path": "."}),
        ("move_file", {"source": "absent", "target": "b"}),
        ("search_files", {"text": "a", "path": "absent"}),
    ],
)
async def test_what_cannot_be_done_is_answered_with_the_path(
    directory: StepDirectory, name: str, arguments: dict[str, str]
) -> None:
    (directory.path / "link").symlink_to("/etc/passwd")
    result = await call(directory, name, **arguments)
    assert result.is_error
    assert arguments.get("path", arguments.get("source", "")) in result.text
    assert "Error" not in result.text


async def test_data_of_the_caller_is_found_beside(workspace: Workspace) -> None:
    (workspace.data / "sales.csv").write_text("region,amount\n", encoding="utf-8")
    directory = workspace.step("own")
    assert (await call(directory, "list_files", path="../data")).output == "../data/sales.csv"
    found = await call(directory, "search_files", text="region", path="../data")
    assert found.output == "../data/sales.csv:1: region,amount"


async def test_terminate_tells_failure_from_success(directory: StepDirectory) -> None:
    failed = await call(directory, "terminate", status="failure", message="no key", output=[1])
    assert (failed.terminated, failed.output, failed.data) == ("failure", "no key", [1])
    assert not failed.is_error
    assert (await call(directory, "terminate", status="success")).terminated == "success"
    assert (await call(directory, "terminate", status="done")).is_error
