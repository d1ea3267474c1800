"""Scripted servers for the tests of providers."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator

import pytest

from tests.fakes.model_server import FakeModelServer
from tests.fakes.redis_server import RedisServer
from tests.fakes.script import Answer
from tests.fakes.scripts import always


@pytest.fixture(scope="module", autouse=True)
def aws_keys() -> Iterator[None]:
    """Keys for boto3's own chain, and nothing else of what this machine may have for AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "aws-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@pytest.fixture
async def server() -> AsyncGenerator[FakeModelServer]:
    """A server whose ``script`` a test replaces."""
    async with FakeModelServer(always(Answer(text="hello"))) as running:
        yield running


@pytest.fixture
async def other_server() -> AsyncGenerator[FakeModelServer]:
    async with FakeModelServer(always(Answer(text="hello from the other"))) as running:
        yield running


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    process = RedisServer(tmp_path_factory.mktemp("redis"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """The session's server, running and empty."""
    redis_process.stop()
    redis_process.start()
    return redis_process
