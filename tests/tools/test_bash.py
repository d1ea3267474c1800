from tools.base import ToolContext, ToolResult
from tools.bash import Bash
from tools.invoke import invoke


async def run(context: ToolContext, command: str, **arguments: object) -> ToolResult:
    return await invoke(Bash().bind(context), {"command": command, **arguments})


async def test_a_failing_command_shows_both_streams_and_its_code(context: ToolContext) -> None:
    result = await run(context, "echo 42; echo oops >&2; exit 4")
    assert result.is_error
    assert result.exit_code == 4
    assert result.text == "exit code 4\n42\n[stderr]\noops"


async def test_inputs_are_variables_and_never_code(context: ToolContext) -> None:
    result = await run(
        context,
        'printf "%s|%s" "$INPUT_TEXT" "$INPUT_ROWS"',
        inputs={"text": "$(touch hacked); `id` 'q'", "rows": [1, {"a": "é"}]},
    )
    assert result.output == """$(touch hacked); `id` 'q'|[1, {"a": "é"}]"""
    assert context.directory.list_files() == ()


async def test_an_input_name_that_is_no_variable_is_refused(context: ToolContext) -> None:
    assert (await run(context, "true", inputs={"a b": 1})).is_error
    assert (await run(context, "true", inputs={"a": "x\0y"})).is_error


async def test_a_value_too_large_for_a_variable_is_refused(context: ToolContext) -> None:
    result = await run(context, "true", inputs={"big": "x" * 200_000})
    assert "'inputs.big': at most" in result.text


async def test_python_is_the_environments_own(context: ToolContext) -> None:
    result = await run(context, "python -c 'import duckdb; print(1)'")
    assert result.output == "1"


async def test_files_are_in_the_steps_directory(context: ToolContext) -> None:
    await run(context, "mkdir sub; echo hi > sub/a.txt")
    assert [file.path for file in context.directory.list_files()] == ["sub/a.txt"]
