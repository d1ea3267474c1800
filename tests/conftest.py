"""Fixtures of the whole suite."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from core.provider_settings import Credentials
from core.settings import Settings
from gateway.server import ServerAddress, ensure_server, point_prefect_at, stop_server

_OURS = ("MANUS_", "OPENAI", "ANTHROPIC", *(n.upper() for n in Credentials.model_fields))
_PREFECT = ("PREFECT_",)


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """The session's server, and settings whose home is a temporary directory."""

    address: ServerAddress
    settings: Settings


class ByServer(LoadScopeScheduling):
    """With several processes (``-n``) one of them has the Prefect server, another the browser.

    All other tests go by file to whichever process is free.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith(("tests/flows/", "tests/gateway/", "tests/tasks/test_prefect_")):
            return "prefect"
        return "browser" if file.startswith("tests/tools/browser/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByServer:
    return ByServer(config, log)


def _without(patch: pytest.MonkeyPatch, prefixes: tuple[str, ...]) -> None:
    for name in [n for n in os.environ if n.startswith(prefixes)]:
        patch.delenv(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MANUS_HOME, and nothing configured. Not for tests that run flows."""
    _without(monkeypatch, _OURS + _PREFECT)
    monkeypatch.setenv("MANUS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One real server for every test that runs flows; this process's Prefect points at it."""
    settings = Settings(home=tmp_path_factory.mktemp("prefect-server"))
    with pytest.MonkeyPatch.context() as patch:
        _without(patch, _OURS + _PREFECT)
        before = dict(os.environ)
        try:
            address = ensure_server(settings, port=0)
            point_prefect_at(address, settings)
            yield PrefectServer(address, settings)
        finally:
            _send_remaining_logs()
            os.environ.clear()
            os.environ.update(before)
            stop_server(settings)


def _send_remaining_logs() -> None:
    """Before the server goes, else Prefect complains on stderr after the last test."""
    if "prefect" in sys.modules:
        from prefect.logging.handlers import APILogHandler

        asyncio.run(APILogHandler.aflush())


@pytest.fixture
def flow_home(
    prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty MANUS_HOME for one test that runs flows on the session's server."""
    _without(monkeypatch, _OURS)
    monkeypatch.setenv("MANUS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
