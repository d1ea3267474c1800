"""The Docker backend against an engine on a unix socket that really runs the commands."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import SandboxUnavailableError
from core.tool_settings import SandboxSettings
from tests.tools.sandbox.fake_docker import IMAGE, FakeDocker
from tests.tools.sandbox.machine import processes_with, python, unique_seconds, until_running
from tools.base import ToolContext
from tools.bash import Bash
from tools.invoke import invoke
from tools.python_execute import PythonExecute
from tools.sandbox.base import SandboxCommand, SandboxLimits
from tools.sandbox.docker import DockerSandbox
from tools.sandbox.docker_engine import DockerEngine
from tools.sandbox.select import choose_sandbox
from tools.workspace import StepDirectory, Workspace

pytestmark = pytest.mark.skipif(
    not shutil.which("bwrap"), reason="the fake engine runs its containers in bubblewrap"
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[FakeDocker]:
    async with FakeDocker(tmp_path / "docker.sock") as running:
        yield running


@pytest.fixture
def docker(engine: FakeDocker) -> DockerSandbox:
    return DockerSandbox(IMAGE, DockerEngine(engine.host))


def shell(directory: StepDirectory, text: str, **more: object) -> SandboxCommand:
    command = SandboxCommand(("/bin/bash", "-c", text), directory)
    return replace(command, **more)


async def test_streams_input_code_and_variables_pass_through(
    docker: DockerSandbox, directory: StepDirectory, engine: FakeDocker
) -> None:
    command = shell(
        directory,
        'sha256sum; pwd; echo "$GREETING" >&2; exit 7',
        environment={"GREETING": "hello"},
        stdin=b"a\0b" * 100_000,
    )
    outcome = await docker.run(command)
    assert outcome.stdout.endswith(b"  -\n/workspace/own\n")
    assert (outcome.stderr, outcome.exit_code) == (b"hello\n", 7)
    assert (outcome.level, outcome.killed) == ("docker", None)
    assert engine.containers == {}
    assert len(engine.removed) == 1


async def test_binary_output_is_put_together_again_from_its_frames(
    docker: DockerSandbox, directory: StepDirectory
) -> None:
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 700)"
    assert (await docker.run(python(directory, code))).stdout == bytes(range(256)) * 700


async def test_a_container_gets_nothing_it_does_not_need(
    docker: DockerSandbox, workspace: Workspace, engine: FakeDocker
) -> None:
    workspace.step("first")
    limits = SandboxLimits(timeout_seconds=10, memory_bytes=2**27, cpu_seconds=5)
    await docker.run(shell(workspace.step("second", ["first"]), "true", limits=limits))
    given = engine.configurations[0]
    host = given["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert (host["SecurityOpt"], host["Privileged"]) == (["no-new-privileges"], False)
    assert (host["Memory"], host["MemorySwap"]) == (2**27, 2**27)
    assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 256)
    assert not given["User"].startswith("0:") or not workspace.root.stat().st_uid
    writable = [m["Target"] for m in host["Mounts"] if not m["ReadOnly"]]
    assert writable == ["/workspace/second"]
    assert "/workspace/first" in [m["Target"] for m in host["Mounts"]]


async def test_the_time_limit_kills_and_removes(
    docker: DockerSandbox, directory: StepDirectory, engine: FakeDocker
) -> None:
    token = unique_seconds()
    command = shell(directory, f"echo before; sleep {token}", limits=SandboxLimits(0.5))
    outcome = await docker.run(command)
    assert (outcome.killed, outcome.stdout) == ("timeout", b"before\n")
    assert processes_with(token) == []
    assert engine.containers == {}


async def test_endless_output_and_too_many_files_are_stopped(
    docker: DockerSandbox, directory: StepDirectory
) -> None:
    limits = SandboxLimits(20, disk_bytes=2**22, max_output_bytes=10_000)
    outcome = await docker.run(shell(directory, "yes", limits=limits))
    assert (outcome.killed, outcome.truncated) == ("output", True)
    fill = "for i in {1..9}; do head -c 1000000 /dev/zero > f$i; done; sleep 30"
    assert (await docker.run(shell(directory, fill, limits=limits))).killed == "disk"


async def test_a_cancelled_command_leaves_no_container(
    docker: DockerSandbox, directory: StepDirectory, engine: FakeDocker
) -> None:
    token = unique_seconds()
    running = asyncio.ensure_future(docker.run(shell(directory, f"sleep {token}")))
    await until_running(f"sleep\0{token}")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert engine.containers == {}
    assert processes_with(token) == []


async def test_the_tools_work_in_it_and_the_shell_stays_open(
    docker: DockerSandbox, directory: StepDirectory, engine: FakeDocker
) -> None:
    context = ToolContext(directory, docker)
    code = "print(inputs['a']); open('made', 'w').write('1'); output = {'b': 2}"
    result = await invoke(PythonExecute().bind(context), {"code": code, "inputs": {"a": 1}})
    assert (result.output, result.data, result.sandbox) == ("1", {"b": 2}, "docker")
    bash = Bash().bind(context)
    assert (await invoke(bash, {"command": "X=5; mkdir sub; cd sub"})).exit_code == 0
    assert (await invoke(bash, {"command": "echo $X $PWD; false"})).text == (
        "exit code 1\n5 /workspace/own/sub"
    )
    assert len(engine.containers) == 1
    await context.scopes.step.close()
    assert engine.containers == {}


async def test_the_self_test_passes_and_its_container_goes(
    docker: DockerSandbox, engine: FakeDocker
) -> None:
    await docker.probe()
    assert len(engine.removed) == 1


async def test_an_engine_that_is_not_there_or_lacks_the_image_is_named(
    engine: FakeDocker, directory: StepDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(SandboxUnavailableError, match=r"nothing\.sock does not answer"):
        await choose_sandbox(SandboxSettings(backend="docker"))
    with pytest.raises(SandboxUnavailableError, match=r"No such image: other.*docker pull"):
        await DockerSandbox("other", DockerEngine(engine.host)).run(shell(directory, "true"))
    monkeypatch.setenv("DOCKER_HOST", "ssh://somewhere")
    with pytest.raises(SandboxUnavailableError, match="only unix:// and tcp://"):
        await choose_sandbox(SandboxSettings(backend="docker"))
