import pytest

from tools.base import ToolContext, ToolResult
from tools.invoke import invoke
from tools.python_execute import PythonExecute


async def run(context: ToolContext, code: str, **arguments: object) -> ToolResult:
    return await invoke(PythonExecute().bind(context), {"code": code, **arguments})


async def test_both_streams_come_back_with_the_level(context: ToolContext) -> None:
    result = await run(context, "import sys\nprint('out')\nprint('err', file=sys.stderr)")
    assert result.output == "out\n[stderr]\nerr"
    assert not result.is_error
    assert context.sandbox
    assert result.sandbox == context.sandbox.level


async def test_an_error_keeps_the_output_and_shows_the_users_line(context: ToolContext) -> None:
    result = await run(context, "print('so far')\ndef half(x):\n    return x / 0\nhalf(1)")
    assert result.is_error
    assert result.exit_code == 1
    assert result.output.startswith("so far")
    assert "line 3, in half\n    return x / 0" in result.output
    assert "ZeroDivisionError" in result.output
    assert "bootstrap" not in result.output


async def test_a_syntax_error_shows_where(context: ToolContext) -> None:
    result = await run(context, "x = (\n")
    assert result.is_error
    assert "line 1\n    x = (" in result.output


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True]}, 'it\'s "quoted"\n{{ x }} \\ é \U0001f600', 0]
)
async def test_inputs_arrive_and_output_leaves_unchanged(
    context: ToolContext, value: object
) -> None:
    result = await run(context, "output = inputs['value']", inputs={"value": value})
    assert result.data == value
    assert not result.is_error
    assert context.directory.list_files() == ()


@pytest.mark.parametrize("value", ["object()", "float('nan')", "{1: {2, 3}}"])
async def test_output_that_is_no_json_is_an_error_that_says_so(
    context: ToolContext, value: str
) -> None:
    result = await run(context, f"print('work done')\noutput = {value}")
    assert result.is_error
    assert "work done" in result.output
    assert "'output' cannot be given back as JSON" in result.output


@pytest.mark.parametrize(("code", "exit_code"), [("exit(3)", 3), ("import sys; sys.exit('no')", 1)])
async def test_leaving_early_has_its_exit_code(
    context: ToolContext, code: str, exit_code: int
) -> None:
    result = await run(context, code)
    assert result.exit_code == exit_code
    assert result.is_error


async def test_code_longer_than_a_command_line_runs(context: ToolContext) -> None:
    result = await run(context, f"text = '{'x' * 3_000_000}'\nprint(len(text))")
    assert result.output == "3000000"


async def test_the_environments_packages_can_be_imported(context: ToolContext) -> None:
    code = "import pandas, numpy, duckdb, altair\nprint(duckdb.sql('select 42').fetchall())"
    assert (await run(context, code)).output == "[(42,)]"


async def test_the_project_cannot_be_imported(context: ToolContext) -> None:
    assert "ModuleNotFoundError" in (await run(context, "import core")).output


async def test_files_last_and_own_modules_can_be_imported(context: ToolContext) -> None:
    await run(context, "open('mine.py', 'w').write('VALUE = 7')")
    assert (await run(context, "import mine; print(mine.VALUE)")).output == "7"
    assert [file.path for file in context.directory.list_files()] == ["mine.py"]


async def test_functions_can_go_to_other_processes(context: ToolContext) -> None:
    code = (
        "import pickle\ndef f(x): return x + 1\n"
        "assert pickle.loads(pickle.dumps(f)) is f\n"
        "if __name__ == '__main__': print('main')"
    )
    assert (await run(context, code)).output == "main"


async def test_a_timeout_says_so_and_keeps_what_was_printed(context: ToolContext) -> None:
    code = "print('before')\nwhile True: pass"
    result = await run(context, code, timeout_seconds=0.7)
    assert result.error == "stopped after 0.7 s (time limit)"
    assert result.output == "before"


async def test_a_forged_result_file_does_no_harm(context: ToolContext) -> None:
    code = (
        "import sys, os\n"
        "frame = sys._getframe(1)\n"
        "os.symlink('/etc/passwd', frame.f_locals['result_file'])"
    )
    result = await run(context, code)
    assert result.data is None
    assert "root:" not in result.text
