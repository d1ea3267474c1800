"""A workspace and every sandbox backend that works here."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from core.errors import SandboxUnavailableError
from tools.base import ToolContext
from tools.sandbox.base import Sandbox
from tools.sandbox.bubblewrap import BubblewrapSandbox
from tools.sandbox.sandlock import SandlockSandbox
from tools.workspace import StepDirectory, Workspace

BACKENDS: dict[str, type[BubblewrapSandbox | SandlockSandbox]] = {
    "bubblewrap": BubblewrapSandbox,
    "sandlock": SandlockSandbox,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def directory(workspace: Workspace) -> StepDirectory:
    return workspace.step("own")


@pytest.fixture(params=list(BACKENDS))
async def sandbox(request: pytest.FixtureRequest) -> AsyncGenerator[Sandbox]:
    chosen = BACKENDS[request.param]()
    try:
        await chosen.probe()
    except SandboxUnavailableError as error:
        pytest.skip(f"{request.param}: {error}")
    yield chosen
    await chosen.close()


@pytest.fixture
def context(directory: StepDirectory, sandbox: Sandbox) -> ToolContext:
    return ToolContext(directory, sandbox)
