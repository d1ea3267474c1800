"""Bounds over the whole process tree; the same code first runs unbounded, in a harmless size."""

import time
from dataclasses import replace

import pytest

from tests.tools.sandbox.machine import processes_with, python, run_plainly, unique_seconds
from tools.sandbox.base import Sandbox, SandboxCommand, SandboxLimits
from tools.workspace import StepDirectory

LIMITS = SandboxLimits(
    timeout_seconds=20,
    memory_bytes=192 * 2**20,
    disk_bytes=16 * 2**20,
    max_processes=20,
    max_output_bytes=10_000,
)
FORKS = """
import os, sys, time
count, seconds = int(sys.argv[1]), float(sys.argv[2])
for made in range(count):
    if os.fork() == 0:
        time.sleep(seconds)
        os._exit(0)
time.sleep(min(seconds, 1))
print("made all")
"""
EXPONENTIAL_FORKS = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
MEMORY = """
import os, sys, time
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        held = bytearray(b"x") * (int(sys.argv[1]) * 2**20)
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    children.append(child)
if all(os.waitpid(child, 0)[1] == 0 for child in children):
    print("held all")
"""
FILES = """
import sys, time
for number in range(int(sys.argv[1])):
    with open(f"file{number}", "wb") as file:
        file.write(b"x" * 2**20)
time.sleep(float(sys.argv[2]))
print("wrote all")
"""
EMPTY_FILES = """
import time
for number in range(20_000):
    open(f"file{number}", "w").close()
time.sleep(10)
print("wrote all")
"""


async def test_a_process_that_forks_too_often_is_stopped(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    assert "made all" in await run_plainly(directory, FORKS, "60", "0.2")
    outcome = await sandbox.run(python(directory, FORKS, "60", "30", limits=LIMITS))
    assert b"made all" not in outcome.stdout
    assert outcome.killed == "processes" or outcome.exit_code != 0


async def test_a_fork_bomb_ends_and_leaves_nothing(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    token = f"bomb{unique_seconds()}"
    limits = replace(LIMITS, timeout_seconds=3)
    command = python(directory, EXPONENTIAL_FORKS, token, limits=limits)
    outcome = await sandbox.run(command)
    assert outcome.killed in ("processes", "timeout", "memory")
    assert processes_with(token) == []


async def test_memory_is_bounded_over_all_processes_together(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    assert "held all" in await run_plainly(directory, MEMORY, "40", "0.2")
    outcome = await sandbox.run(python(directory, MEMORY, "40", "3", limits=LIMITS))
    assert b"held all" not in outcome.stdout


async def test_memory_below_the_bound_is_left_alone(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    outcome = await sandbox.run(python(directory, MEMORY, "4", "0.3", limits=LIMITS))
    assert outcome.stdout == b"held all\n", outcome


async def test_many_files_do_not_fill_the_disk(sandbox: Sandbox, directory: StepDirectory) -> None:
    assert "wrote all" in await run_plainly(directory, FILES, "8", "0")
    for file in directory.path.iterdir():
        file.unlink()
    outcome = await sandbox.run(python(directory, FILES, "40", "10", limits=LIMITS))
    assert outcome.killed == "disk"


async def test_empty_files_count_as_well(sandbox: Sandbox, directory: StepDirectory) -> None:
    outcome = await sandbox.run(python(directory, EMPTY_FILES, limits=LIMITS))
    assert outcome.killed == "disk"


async def test_one_huge_file_is_refused(sandbox: Sandbox, directory: StepDirectory) -> None:
    code = "open('huge', 'wb').write(b'x' * 2**26)"
    assert await run_plainly(directory, code) == ""
    (directory.path / "huge").unlink()
    outcome = await sandbox.run(python(directory, code, limits=LIMITS))
    assert outcome.exit_code != 0
    assert (directory.path / "huge").stat().st_size <= LIMITS.disk_bytes


async def test_a_sparse_temporary_directory_is_bounded(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    code = """
import tempfile
with tempfile.TemporaryDirectory() as place:
    for number in range(60):
        open(f"{place}/{number}", "wb").write(b"x" * 2**23)
print("wrote all")
"""
    outcome = await sandbox.run(python(directory, code, limits=LIMITS))
    assert b"wrote all" not in outcome.stdout


async def test_endless_output_is_stopped_and_both_ends_are_kept(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    bounded = "print('first')\nfor _ in range(40_000): print('x' * 500)\nprint('last')"
    plain = await run_plainly(directory, bounded)
    assert len(plain) > 20_000_000
    assert plain.endswith("last\n")
    code = "print('first')\nwhile True: print('x' * 500)"
    outcome = await sandbox.run(python(directory, code, limits=LIMITS))
    assert outcome.killed == "output"
    assert outcome.truncated
    assert outcome.stdout.startswith(b"first")
    assert len(outcome.stdout) < LIMITS.max_output_bytes + 100


async def test_long_output_is_cut_in_the_middle(sandbox: Sandbox, directory: StepDirectory) -> None:
    code = "print('first'); print('x' * 30_000); print('last')"
    outcome = await sandbox.run(python(directory, code, limits=LIMITS))
    assert outcome.killed is None
    assert outcome.truncated
    assert outcome.stdout.startswith(b"first")
    assert outcome.stdout.endswith(b"last\n")


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: pass"])
async def test_the_wall_clock_stops_what_sleeps_and_what_spins(
    sandbox: Sandbox, directory: StepDirectory, code: str
) -> None:
    slept_past = "import time; time.sleep(1); print('slept past the limit')"
    assert "past the limit" in await run_plainly(directory, slept_past)
    started = time.monotonic()
    limits = replace(LIMITS, timeout_seconds=0.5)
    full = f"print('before', flush=True)\n{code}"
    outcome = await sandbox.run(python(directory, full, limits=limits))
    assert outcome.killed == "timeout"
    assert outcome.stdout == b"before\n"
    assert time.monotonic() - started < 15


async def test_input_output_and_exit_code_pass_through(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    outcome = await sandbox.run(
        SandboxCommand(
            argv=("/bin/bash", "-c", 'cat; echo "$GREETING" >&2; exit 7'),
            directory=directory,
            environment={"GREETING": "hello"},
            stdin=b"a\0b" * 20_000,
        )
    )
    assert outcome.stdout == (b"a\0b" * 20_000)[: len(outcome.stdout)] or outcome.truncated
    assert outcome.stderr == b"hello\n"
    assert outcome.exit_code == 7


async def test_a_command_that_ignores_its_input_ends_well(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    command = SandboxCommand(("/bin/true",), directory, stdin=b"x" * 2_000_000)
    assert (await sandbox.run(command)).exit_code == 0
