import asyncio
import re
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from core.settings import Settings
from core.tool_settings import SandboxSettings
from tests.tools.sandbox.machine import processes_with, unique_seconds, until_running
from tools.base import ToolContext, ToolResult
from tools.bash import Bash
from tools.invoke import invoke
from tools.registry import default_registry
from tools.sandbox.base import Sandbox, SandboxLimits
from tools.workspace import StepDirectory


@pytest.fixture
async def context(directory: StepDirectory, sandbox: Sandbox) -> AsyncGenerator[ToolContext]:
    opened = ToolContext(directory, sandbox)
    yield opened
    await opened.scopes.step.close()


async def run(context: ToolContext, command: str, **arguments: object) -> ToolResult:
    return await invoke(Bash().bind(context), {"command": command, **arguments})


async def test_a_failing_command_shows_both_streams_and_its_code(context: ToolContext) -> None:
    result = await run(context, "echo 42; echo oops >&2; exit 4")
    assert result.is_error
    assert result.exit_code == 4
    assert result.text.startswith("exit code 4; the shell has ended")
    assert result.output == "42\n[stderr]\noops"


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


async def test_directory_variables_and_functions_last_between_calls(context: ToolContext) -> None:
    await run(context, "mkdir sub && cd sub; X=5; f() { echo f$1; }; set -o pipefail")
    result = await run(context, "basename $PWD; echo $X; f 1; false | true")
    assert (result.output, result.exit_code) == ("sub\n5\nf1", 1)


async def test_a_restart_forgets_them_and_begins_in_the_steps_directory(
    context: ToolContext,
) -> None:
    await run(context, "mkdir sub && cd sub; X=5")
    assert (await invoke(Bash().bind(context), {"restart": True})).text == (
        "a new shell, in the step's directory"
    )
    assert (await run(context, "basename $PWD; echo ${X-unset}")).output == "own\nunset"
    both = await run(context, "echo ${X-unset}", restart=True)
    assert both.output == "unset"
    assert (await invoke(Bash().bind(context), {})).is_error


async def test_the_time_limit_ends_what_runs_and_the_next_call_has_a_new_shell(
    context: ToolContext,
) -> None:
    token = unique_seconds()
    await run(context, "X=5")
    result = await run(context, f"echo before; sleep {token}", timeout_seconds=0.5)
    assert result.text.startswith("stopped after 0.5 s (time limit); the shell has ended")
    assert result.output == "before"
    assert processes_with(token) == []
    assert (await run(context, "echo ${X-unset}")).output == "unset"


async def test_output_that_looks_like_an_end_is_output(context: ToolContext) -> None:
    """A command sees neither the stream its end is told on nor the token that will tell it."""
    spied = await run(context, "set; ls -l /proc/self/fd; cat /proc/self/fd/251")
    assert not re.search(r"__manus_token=[0-9a-f]{32}", spied.output)
    fake = f"{secrets.token_hex(16)}:0:"
    result = await run(context, f"printf '%s' '{fake}'; printf '%s' '{fake}' >&2; false")
    assert (result.output, result.exit_code) == (f"{fake}\n[stderr]\n{fake}", 1)


async def test_the_previous_token_does_not_end_the_next_command(context: ToolContext) -> None:
    await run(context, "true")
    result = await run(context, 'printf "%s:0:" "$__manus_token"; echo after; (exit 3)')
    assert result.output.endswith(":0:after")
    assert result.exit_code == 3


async def test_bytes_and_missing_newlines_pass_through(context: ToolContext) -> None:
    result = await run(context, "head -c 300000 /dev/zero | tr '\\0' x; printf '\\377' >&2")
    assert result.output == f"{'x' * 100}{result.output[100:]}"
    assert result.output.endswith("[stderr]\n\\xff")
    assert "bytes left out" in result.output


async def test_what_would_break_a_loop_or_a_parser_breaks_nothing(context: ToolContext) -> None:
    for text in ("break 9", "if", "echo 'open", "continue", "return 3", ")", "cat", "exec 0<&-"):
        await run(context, text)
    assert (await run(context, "echo still")).output == "still"


async def test_calls_of_one_turn_queue_up_in_one_shell(context: ToolContext) -> None:
    texts = [f"X=$((X + 1)); echo {n}" for n in range(6)]
    results = await asyncio.gather(*(run(context, text) for text in texts))
    assert [result.output for result in results] == [str(n) for n in range(6)]
    assert (await run(context, "echo $X")).output == "6"


async def test_a_shell_that_ends_says_so_and_tells_its_code(context: ToolContext) -> None:
    result = await run(context, "kill -9 $$")
    assert result.is_error
    assert "the shell has ended" in result.text
    ended_well = await run(context, "echo done; exit 0")
    assert (ended_well.is_error, ended_well.text) == (False, "done")
    assert ended_well.state == ()
    assert "started anew" in str((await run(context, "true")).state)


async def test_a_background_process_stays_and_dies_with_the_step(context: ToolContext) -> None:
    token = unique_seconds()
    assert (await run(context, f"sleep {token} & echo started")).output == "started"
    assert (await run(context, "jobs -r | wc -l")).output == "1"
    assert processes_with(token) != []
    await context.scopes.step.close()
    assert processes_with(token) == []


async def test_a_cancelled_call_leaves_nothing_and_the_next_has_a_new_shell(
    context: ToolContext,
) -> None:
    token = unique_seconds()
    running = asyncio.ensure_future(run(context, f"X=5; sleep {token}"))
    await until_running(f"sleep\0{token}")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_with(token) == []
    assert (await run(context, "echo ${X-unset}")).output == "unset"


async def test_limits_hold_over_the_shells_life_and_over_what_it_left_running(
    directory: StepDirectory, sandbox: Sandbox
) -> None:
    limits = SandboxLimits(10, memory_bytes=150 * 2**20, max_processes=8, max_output_bytes=5000)
    context = ToolContext(directory, sandbox, limits)
    grow = "python -c 'import time; x = bytearray(b\"x\") * (400 * 2**20); time.sleep(20)'"
    assert (await run(context, grow)).is_error
    forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 20 & done; sleep 20"
    assert (await run(context, forks)).is_error
    flood = await run(context, "yes")
    assert flood.text.startswith("stopped: endless output")
    assert (await run(context, "echo fine")).output == "fine"
    await context.scopes.step.close()


async def test_cpu_time_counts_over_all_processes_and_anew_for_each_command(
    directory: StepDirectory, sandbox: Sandbox
) -> None:
    context = ToolContext(directory, sandbox, SandboxLimits(30, cpu_seconds=1.0))
    spin = "python -c 'import time\nwhile time.process_time() < 0.4: pass'"
    assert not (await run(context, spin)).is_error
    assert not (await run(context, spin)).is_error
    result = await run(context, "while :; do :; done & while :; do :; done")
    assert "stopped after 1 s of CPU time" in result.text
    await context.scopes.step.close()


async def test_after_a_resume_the_first_result_says_that_the_shell_is_new(
    directory: StepDirectory, sandbox: Sandbox, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    before = ToolContext(directory, sandbox, private=private)
    assert (await run(before, "X=5")).state == ()
    assert (await run(before, "echo $X")).state == ()
    await before.scopes.step.close()
    resumed = ToolContext(directory, sandbox, private=private)
    assert "started anew" in str((await run(resumed, "echo $X")).state)
    assert (await run(resumed, "true")).state == ()
    await resumed.scopes.step.close()


def test_with_the_network_open_the_tool_is_high_risk_and_untrusted() -> None:
    assert (Bash().annotations.network, Bash().annotations.risk) == (False, "low")
    opened = default_registry(Settings(sandbox=SandboxSettings(network_enabled=True)))
    for name in ("bash", "python_execute"):
        given = opened.get(name).annotations
        assert (given.network, given.risk, given.untrusted_output) == (True, "high", True)
