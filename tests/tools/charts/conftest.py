"""Charts are drawn in one sandbox; in every one of them where that makes a difference."""

from collections.abc import AsyncGenerator

import pytest

from core.errors import SandboxUnavailableError
from tests.tools.conftest import BACKENDS
from tools.sandbox.base import Sandbox


@pytest.fixture
async def sandbox(request: pytest.FixtureRequest) -> AsyncGenerator[Sandbox]:
    """The first that works here, or the one a test names."""
    problems: list[str] = []
    for name in [request.param] if hasattr(request, "param") else list(BACKENDS):
        chosen = BACKENDS[name]()
        try:
            await chosen.probe()
        except SandboxUnavailableError as error:
            problems.append(f"{name}: {error}")
            continue
        yield chosen
        await chosen.close()
        return
    pytest.skip("; ".join(problems))
