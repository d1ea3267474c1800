"""Ways out of a sandbox. Each is first shown to work without one, so that it can fail here."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.tools.sandbox.machine import processes_with, python, run_plainly, unique_seconds
from tools.sandbox.base import Sandbox
from tools.workspace import StepDirectory, Workspace

REPORT = """
import sys
try:
    result = attempt(*sys.argv[1:])
    print("BREACH", result)
except (OSError, ModuleNotFoundError) as error:
    print("held", type(error).__name__)
"""
READ = "def attempt(path): return open(path).read()"
WRITE = "def attempt(path): return open(path, 'w').write('x')"
OPEN_FOR_WRITING = "def attempt(path): return open(path, 'r+').close()"
CONNECT = """
import socket
def attempt(port):
    return socket.create_connection(("127.0.0.1", int(port)), 2).close()
"""
CONNECT_ABSTRACT = """
import socket
def attempt(name):
    with socket.socket(socket.AF_UNIX) as own:
        return own.connect("\\0" + name)
"""
SIGNAL = """
import os, signal
def attempt(pid): return os.kill(int(pid), signal.SIGCONT)
"""
ENVIRONMENTS = """
import os
def attempt(token):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if token in open(f"/proc/{pid}/environ", errors="replace").read():
                return pid
        except OSError:
            continue
    raise PermissionError
"""


async def assert_held(
    sandbox: Sandbox,
    directory: StepDirectory,
    attempt: str,
    *targets: str,
    environment: dict[str, str] | None = None,
) -> None:
    code = attempt + REPORT
    plain = await run_plainly(directory, code, *targets, environment=environment)
    assert plain.startswith("BREACH"), f"the probe itself does not work: {plain}"
    outcome = await sandbox.run(python(directory, code, *targets))
    assert outcome.stdout.startswith(b"held"), (outcome.stdout, outcome.stderr)
    assert outcome.level == sandbox.level


@pytest.fixture
def closed_home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


@pytest.fixture
async def listener() -> AsyncGenerator[int]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_a_secret_in_a_home_directory_cannot_be_read(
    sandbox: Sandbox, directory: StepDirectory, closed_home: Path
) -> None:
    secret = closed_home / "key"
    secret.write_text(secrets.token_hex(), encoding="utf-8")
    await assert_held(sandbox, directory, READ, str(secret))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads /etc/shadow outside as well")
async def test_the_password_file_cannot_be_read(sandbox: Sandbox, directory: StepDirectory) -> None:
    await assert_held(sandbox, directory, READ, "/etc/shadow")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes kernel settings outside as well")
async def test_kernel_settings_cannot_be_opened_for_writing(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    await assert_held(sandbox, directory, OPEN_FOR_WRITING, "/proc/sys/kernel/core_pattern")


async def test_the_callers_environment_is_in_no_process_that_can_be_seen(
    sandbox: Sandbox, directory: StepDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = secrets.token_hex()
    monkeypatch.setenv("MANUS_TEST_API_KEY", token)
    await assert_held(sandbox, directory, ENVIRONMENTS, token)


async def test_nothing_can_be_written_outside_the_workspace(
    sandbox: Sandbox, directory: StepDirectory, closed_home: Path
) -> None:
    target = closed_home / "planted"
    await assert_held(sandbox, directory, WRITE, str(target))


async def test_the_project_itself_cannot_be_read(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    project_file = Path(__file__).resolve().parents[3] / "pyproject.toml"
    await assert_held(sandbox, directory, READ, str(project_file))


async def test_a_steps_files_and_data_are_read_only_for_another_step(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    first = workspace.step("first")
    (first.path / "result").write_text("42", encoding="utf-8")
    (workspace.data / "given").write_text("1", encoding="utf-8")
    second = workspace.step("second", ["first"])
    for file in ("../first/result", "../data/given"):
        await assert_held(sandbox, second, OPEN_FOR_WRITING, file)
        outcome = await sandbox.run(python(second, READ + REPORT, file))
        assert outcome.stdout.startswith(b"BREACH"), "a dependency must be readable"


async def test_a_step_it_does_not_depend_on_cannot_be_read(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    other = workspace.step("other")
    (other.path / "result").write_text("42", encoding="utf-8")
    await assert_held(sandbox, workspace.step("own"), READ, "../other/result")


async def test_a_listener_on_the_loopback_interface_cannot_be_reached(
    sandbox: Sandbox, directory: StepDirectory, listener: int
) -> None:
    await assert_held(sandbox, directory, CONNECT, str(listener))


async def test_an_abstract_socket_cannot_be_reached(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    name = secrets.token_hex()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        await assert_held(sandbox, directory, CONNECT_ABSTRACT, name)


async def test_another_process_cannot_be_signalled(
    sandbox: Sandbox, directory: StepDirectory
) -> None:
    token = unique_seconds()
    process = await asyncio.create_subprocess_exec("sleep", token)
    try:
        assert processes_with(token) == [process.pid]
        await assert_held(sandbox, directory, SIGNAL, str(process.pid))
    finally:
        process.kill()
        await process.wait()
