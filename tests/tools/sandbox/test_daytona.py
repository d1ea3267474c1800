"""The Daytona backend against its API on loopback, whose machines really run the commands."""

import io
import os
import shutil
import tarfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import SandboxUnavailableError
from core.tool_settings import DaytonaSettings, SandboxSettings
from tests.tools.sandbox.fake_daytona import KEY, FakeDaytona
from tools.base import ToolContext
from tools.bash import Bash
from tools.invoke import invoke
from tools.python_execute import PythonExecute
from tools.sandbox.base import SandboxCommand, SandboxLimits
from tools.sandbox.daytona import DaytonaSandbox
from tools.sandbox.select import choose_sandbox
from tools.sandbox.transfer import packed, unpacked
from tools.workspace import StepDirectory, Workspace

runs_machines = pytest.mark.skipif(
    not shutil.which("bwrap"), reason="the fake service runs its machines in bubblewrap"
)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncGenerator[FakeDaytona]:
    place = tmp_path / "machines"
    place.mkdir()
    async with FakeDaytona(place) as running:
        yield running


@pytest.fixture
def settings(service: FakeDaytona) -> DaytonaSettings:
    return DaytonaSettings(api_key=SecretStr(KEY), server_url=f"{service.url}/api", target="eu")


@pytest.fixture
def daytona(settings: DaytonaSettings) -> DaytonaSandbox:
    return DaytonaSandbox(settings)


@runs_machines
async def test_files_go_up_and_what_changed_comes_back(
    daytona: DaytonaSandbox, workspace: Workspace, service: FakeDaytona
) -> None:
    first, second = workspace.step("first"), workspace.step("second", ["first"])
    (first.path / "given").write_text("42", encoding="utf-8")
    (second.path / "old").write_text("old", encoding="utf-8")
    (second.path / "gone").write_text("x", encoding="utf-8")
    command = SandboxCommand(
        ("/bin/bash", "-c", 'cat ../first/given -; rm gone; mkdir a; echo "$V" >a/new; exit 3'),
        second,
        environment={"V": "it's"},
        stdin=b"\0in",
    )
    outcome = await daytona.run(command)
    assert (outcome.stdout, outcome.exit_code) == (b"42\0in", 3)
    assert (outcome.level, outcome.killed) == ("daytona", None)
    assert [file.path for file in second.list_files()] == ["a/new", "old"]
    assert (second.path / "a/new").read_text(encoding="utf-8") == "it's\n"
    assert service.orders[0]["networkBlockAll"] is True
    assert service.orders[0]["target"] == "eu"
    assert service.deleted == ["machine-0"]


@runs_machines
async def test_limits_of_time_and_disk_are_kept_and_the_machine_goes(
    daytona: DaytonaSandbox, directory: StepDirectory, service: FakeDaytona
) -> None:
    limits = SandboxLimits(1, disk_bytes=2**20)
    slow = SandboxCommand(("/bin/sh", "-c", "echo a; sleep 60"), directory, limits=limits)
    outcome = await daytona.run(slow)
    assert (outcome.killed, outcome.stdout) == ("timeout", b"a\n")
    fill = "for i in 1 2 3; do head -c 900000 /dev/urandom > f$i; done"
    full = SandboxCommand(("/bin/sh", "-c", fill), directory, limits=limits)
    assert (await daytona.run(full)).killed == "disk"
    assert directory.list_files() == ()
    assert len(service.deleted) == 2


@runs_machines
async def test_the_tools_work_in_it(daytona: DaytonaSandbox, directory: StepDirectory) -> None:
    context = ToolContext(directory, daytona)
    result = await invoke(PythonExecute().bind(context), {"code": "print(1); output = [2]"})
    assert (result.output, result.data, result.sandbox) == ("1", [2], "daytona")
    answer = await invoke(Bash().bind(context), {"command": "echo $INPUT_A", "inputs": {"a": 1}})
    assert answer.output == "1"


@runs_machines
async def test_it_passes_the_self_test(settings: DaytonaSettings) -> None:
    chosen = await choose_sandbox(SandboxSettings(backend="daytona"), settings)
    assert chosen.level == "daytona"


async def test_a_machine_that_does_not_start_is_deleted_and_named(
    daytona: DaytonaSandbox, directory: StepDirectory, service: FakeDaytona
) -> None:
    service.final_state = "build_failed"
    with pytest.raises(SandboxUnavailableError, match="does not start: build_failed"):
        await daytona.run(SandboxCommand(("/bin/true",), directory))
    assert service.deleted == ["machine-0"]


async def test_without_a_key_or_with_a_wrong_one_it_says_so(
    service: FakeDaytona, directory: StepDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAYTONA_API_KEY", raising=False)
    with pytest.raises(SandboxUnavailableError, match="DAYTONA_API_KEY"):
        await choose_sandbox(SandboxSettings(backend="daytona"))
    wrong = DaytonaSettings(api_key=SecretStr("no"), server_url=f"{service.url}/api")
    with pytest.raises(SandboxUnavailableError, match="status 401"):
        await DaytonaSandbox(wrong).run(SandboxCommand(("/bin/true",), directory))


def test_links_are_not_sent_and_nothing_returned_is_written_outside(
    directory: StepDirectory, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    os.symlink(tmp_path / "secret", directory.path / "link")
    with tarfile.open(fileobj=io.BytesIO(packed(directory, b""))) as archive:
        assert "workspace/own/link" not in archive.getnames()
    buffer = io.BytesIO()
    names = ("code", "workspace/own/../../../planted", "/planted", "workspace/other/planted")
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 1
            archive.addfile(entry, io.BytesIO(b"0"))
        link = tarfile.TarInfo("workspace/own/away")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
    assert unpacked(directory, buffer.getvalue()).exit_code == 0
    assert list(tmp_path.rglob("planted")) == []
    assert not (directory.path / "away").exists()
    with pytest.raises(SandboxUnavailableError, match="no result back"):
        unpacked(directory, b"x" * 2000)
