import pytest

from core.errors import SandboxUnavailableError
from core.tool_settings import SandboxSettings
from tools.sandbox.base import SandboxLimits
from tools.sandbox.bubblewrap import BubblewrapSandbox
from tools.sandbox.probe import probe_sandbox
from tools.sandbox.rlimits import RlimitsSandbox
from tools.sandbox.select import choose_sandbox


async def test_the_strongest_backend_that_works_is_chosen() -> None:
    try:
        await BubblewrapSandbox().probe()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    assert (await choose_sandbox(SandboxSettings())).level == "bubblewrap"


async def test_a_machine_without_bubblewrap_is_told_why_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxUnavailableError) as caught:
        await choose_sandbox(SandboxSettings(backend="bubblewrap"))
    assert "bubblewrap: bwrap is not installed" in str(caught.value)
    assert "apt-get install bubblewrap" in str(caught.value)


async def test_resource_limits_alone_are_refused_unless_allowed() -> None:
    with pytest.raises(SandboxUnavailableError, match="allow_unsafe is not set"):
        await choose_sandbox(SandboxSettings(backend="rlimits"))


async def test_the_self_test_tells_a_backend_that_does_not_confine() -> None:
    sandbox = RlimitsSandbox()
    try:
        await sandbox.probe()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    with pytest.raises(SandboxUnavailableError, match="reached the network"):
        await probe_sandbox(sandbox)


def test_limits_are_those_of_the_settings() -> None:
    limits = SandboxLimits.from_settings(SandboxSettings(memory_mib=64, disk_mib=2))
    assert (limits.memory_bytes, limits.disk_bytes) == (64 * 2**20, 2 * 2**20)
