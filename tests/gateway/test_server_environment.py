from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.server_environment import (
    Listening,
    is_loopback,
    server_environment,
    without_proxy,
)


def test_server_gets_no_provider_keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("PATH", "/bin")
    environment = server_environment(home, Listening("127.0.0.1", 4200))
    assert "sk-secret" not in environment.values()
    assert environment["PATH"] == "/bin"


def test_user_may_tune_the_server_but_not_open_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED", "false")
    monkeypatch.setenv("PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS", "*")
    environment = server_environment(home, Listening("127.0.0.1", 4321))
    assert environment["PREFECT_SERVER_LOGGING_LEVEL"] == "DEBUG"
    assert environment["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert environment["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4321"


def test_auth_string_reaches_the_server_and_only_when_there_is_one(home: Path) -> None:
    name = "PREFECT_SERVER_API_AUTH_STRING"
    protected = Listening("10.0.0.5", 4200, SecretStr("me:secret"))
    assert server_environment(home, protected)[name] == "me:secret"
    assert name not in server_environment(home, Listening("127.0.0.1", 4200))


def test_address_that_means_all_is_reached_over_loopback() -> None:
    assert Listening("0.0.0.0", 1).origin == "http://127.0.0.1:1"
    assert Listening("::", 1).origin == "http://[::1]:1"
    assert Listening("10.0.0.5", 1).origin == "http://10.0.0.5:1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("some-host", False)],
)  # fmt: skip
def test_only_loopback_addresses_are_private(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_local_server_is_kept_off_the_proxy() -> None:
    both = {"no_proxy": "a.example,127.0.0.1", "NO_PROXY": "a.example,127.0.0.1"}
    assert without_proxy({"NO_PROXY": "a.example"}, "127.0.0.1") == both
    assert without_proxy({"no_proxy": "*"}, "127.0.0.1") == {"no_proxy": "*", "NO_PROXY": "*"}
