"""The macOS profile's text. Nothing here runs it: that takes a Mac."""

import sys

import pytest

from core.errors import SandboxUnavailableError
from tools.sandbox.base import SandboxCommand, SandboxLimits
from tools.sandbox.sandbox_exec import SandboxExecSandbox, profile
from tools.workspace import Workspace


def test_everything_is_denied_but_reading_the_system_and_writing_the_step(
    workspace: Workspace,
) -> None:
    workspace.step("first")
    directory = workspace.step("own", ["first"])
    lines = profile(SandboxCommand(("/bin/ls",), directory)).splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    assert "(deny network*)" in lines
    writable = [line for line in lines if "file-write" in line]
    assert writable == [
        '(allow file-write* (literal "/dev/null"))',
        f'(allow file-write* (subpath "{directory.path.resolve()}"))',
    ]
    readable = [line for line in lines if "file-read*" in line]
    assert f'(allow file-read* (subpath "{workspace.root.resolve()}/first"))' in readable
    assert not any('"/"' in line or '"/Users"' in line for line in lines)


def test_a_path_cannot_end_its_own_quotes(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp('odd") (allow default) ("')
    text = profile(SandboxCommand(("/bin/ls",), Workspace(root / "w").step("own")))
    assert "(allow default)" not in text.replace('\\") (allow default) (\\"', "")


def test_the_network_is_open_only_where_the_limits_say_so(workspace: Workspace) -> None:
    command = SandboxCommand(("ls",), workspace.step("own"), limits=SandboxLimits(network=True))
    assert "(allow network*)" in profile(command)


@pytest.mark.skipif(sys.platform == "darwin", reason="there it may be available")
async def test_elsewhere_it_is_not_available() -> None:
    with pytest.raises(SandboxUnavailableError, match="macOS"):
        await SandboxExecSandbox().probe()
