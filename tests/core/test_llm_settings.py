"""The sections of OpenManus's ``config.toml``, and what they mean in a ``manus.toml``."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.provider_settings import ProviderSettings
from core.settings import Settings, load_settings

EXAMPLE = """
[llm]
model = "gpt-4o"
base_url = "https://api.openai.com/v1"
api_key = "sk-..."
max_tokens = 4096
temperature = 0.0
api_type = "OpenAI"
api_version = ""

[llm.vision]
model = "gpt-4o"
base_url = "https://api.openai.com/v1"
api_key = "sk-..."

[browser]
headless = false
disable_security = true
max_content_length = 2000

[search]
engine = "Google"
fallback_engines = ["DuckDuckGo", "Baidu", "Bing"]
lang = "en"
country = "us"

[sandbox]
use_sandbox = false
image = "python:3.12-slim"
work_dir = "/workspace"
memory_limit = "512m"
cpu_limit = 1.0
timeout = 300
network_enabled = false
"""
"""All of OpenManus's own example but the two sections that mean nothing here."""


@pytest.fixture(autouse=True)
def clean_environment() -> Generator[None]:
    former = dict(os.environ)
    for name in former:
        if name.startswith("MANUS_"):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(former)


def load(home: Path, text: str) -> Settings:
    home.mkdir(parents=True, exist_ok=True)
    (home / ".env").touch()
    (home / "manus.toml").write_text(text, encoding="utf-8")
    return load_settings(home)


def one(home: Path, lines: str) -> ProviderSettings:
    return load(home, f"[llm]\nmodel = 'm'\n{lines}").providers["llm"]


def test_the_whole_example_of_openmanus_loads(tmp_path: Path) -> None:
    settings = load(tmp_path, EXAMPLE)
    assert settings.providers.keys() == {"llm", "llm-vision"}
    assert settings.routes["default"].deployments == ("llm",)
    assert settings.routes["vision"].deployments == ("llm-vision",)
    for provider in settings.providers.values():
        assert (provider.kind, provider.model) == ("openai", "gpt-4o")
        assert (provider.max_output_tokens, provider.temperature) == (4096, 0.0)
        assert provider.api_key
        assert provider.api_key.get_secret_value() == "sk-..."
    assert settings.search.fallback_engines == ("duckduckgo", "baidu", "bing")
    assert (settings.sandbox.memory_mib, settings.sandbox.timeout_seconds) == (512, 300)
    assert settings.browser.max_content_length == 2000


def test_a_named_section_inherits_what_it_leaves_out(tmp_path: Path) -> None:
    text = """
    [llm]
    model = "claude-sonnet-5-5"
    base_url = "https://api.anthropic.com/v1/"
    api_key = "one"
    max_tokens = 8192
    [llm.vision]
    model = "claude-opus-5-5"
    max_tokens = 100
    [llm.cheap]
    model = "qwen3:8b"
    base_url = "http://localhost:11434/v1"
    api_key = "ollama"
    """
    providers = load(tmp_path, text).providers
    first, vision, cheap = (providers[n] for n in ("llm", "llm-vision", "llm-cheap"))
    assert (first.kind, first.base_url) == ("anthropic", "https://api.anthropic.com")
    assert (vision.kind, vision.model) == ("anthropic", "claude-opus-5-5")
    assert (vision.api_key, vision.max_output_tokens) == (first.api_key, 100)
    assert (cheap.kind, cheap.max_output_tokens) == ("ollama", 8192)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", {"kind": "openai", "base_url": None}),
        ("base_url = 'http://127.0.0.1:8000/v1'", {"kind": "openai"}),
        ("api_type = 'ollama'", {"kind": "ollama"}),
        (
            "base_url = 'https://generativelanguage.googleapis.com/v1beta/openai/'",
            {"kind": "google"},
        ),
        ("base_url = 'https://openrouter.ai/api/v1'", {"kind": "openrouter"}),
        ("base_url = 'https://notanthropic.com/v1'", {"kind": "openai"}),
        (
            "api_type = 'azure'\nbase_url = 'https://x.openai.azure.com/openai/deployments/mine/'\n"
            "api_version = '2024-10-21'",
            {
                "kind": "azure",
                "base_url": "https://x.openai.azure.com",
                "model": "mine",
                "api_version": "2024-10-21",
            },
        ),
        ("base_url = 'https://x.openai.azure.com'", {"kind": "azure", "model": "m"}),
        (
            "api_type = 'aws'\nbase_url = 'bedrock-runtime.us-west-2.amazonaws.com'\napi_key = 'x'",
            {"kind": "bedrock", "region": "us-west-2", "base_url": None, "api_key": None},
        ),
        ("max_tokens = 7\ntemperature = 0.5", {"max_output_tokens": 7, "temperature": 0.5}),
    ],
)
def test_the_type_and_the_address_say_which_kind_it_is(
    tmp_path: Path, lines: str, expected: dict[str, Any]
) -> None:
    provider = one(tmp_path, lines)
    assert {key: getattr(provider, key) for key in expected} == expected


def test_the_budget_of_input_tokens_is_that_of_a_run(tmp_path: Path) -> None:
    settings = load(tmp_path, "[llm]\nmodel = 'm'\nmax_input_tokens = 9\n[run]\n")
    assert settings.run.budget.max_tokens == 9


def test_other_providers_and_routes_may_stand_beside_it(tmp_path: Path) -> None:
    text = "[llm]\nmodel = 'm'\n[providers.openai]\n[routes.fast]\ndeployments = ['openai', 'llm']"
    settings = load(tmp_path, text)
    assert settings.providers.keys() == {"llm", "openai"}
    assert settings.routes.keys() == {"default", "fast"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[llm]\nmodel = 'm'\nmodell = 1", "unknown key 'llm.modell'"),
        ("[llm]\nmodel = 'm'\n[llm.vision]\nurl = 1", "unknown key 'llm.vision.url'"),
        ("[llm]\nbase_url = 'x'", "llm.model"),
        ("[llm]\nmodel = 'm'\nmax_tokens = 0", "llm.max_tokens"),
        ("[llm]\nmodel = 'm'\napi_type = 'telepathy'", "llm.api_type: no 'telepathy'"),
        ("[llm]\nmodel = 'm'\nbase_url = 'http://h:port/'", "llm."),
        ("[llm]\nmodel = 'm'\n[llm.default]\nmodel = 'x'", "[llm.default]"),
        ("[llm]\nmodel = 'm'\n[llm.'Not a name']\n", "Not a name"),
        ("[llm]\nmodel = 'm'\n[llm.v]\nmax_input_tokens = 5", "llm.v.max_input_tokens"),
        (
            "[llm]\nmodel = 'm'\n[routes.default]\ndeployments = ['llm']",
            "[llm] is [routes.default] already",
        ),
        (
            "[llm.vision]\nmodel = 'm'\n[providers.llm-vision]\nkind = 'openai'",
            "[llm.vision] is [providers.llm-vision] already",
        ),
        (
            "[llm]\nmodel = 'm'\nmax_input_tokens = 5\n[run.budget]\nmax_tokens = 6",
            "[llm] max_input_tokens is [run.budget] max_tokens",
        ),
        ("llm = 3", "llm: must be a section"),
        ("[mcp]\nserver_reference = 'app.mcp.server'", "[mcp] server_reference means nothing here"),
        (
            "[runflow]\nuse_data_analysis_agent = false",
            "[runflow] use_data_analysis_agent means nothing here",
        ),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "manus.toml"))
    assert problem in str(caught.value)
