"""Scripted servers for the tests of providers."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer
from tests.fakes.scripts import always


@pytest.fixture
async def server() -> AsyncGenerator[FakeModelServer]:
    """A server whose ``script`` a test replaces."""
    async with FakeModelServer(always(Answer(text="hello"))) as running:
        yield running


@pytest.fixture
async def other_server() -> AsyncGenerator[FakeModelServer]:
    async with FakeModelServer(always(Answer(text="hello from the other"))) as running:
        yield running
