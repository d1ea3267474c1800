"""Which providers and routes a configuration makes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import ConfigError
from core.provider_settings import Credentials, ProviderSettings, RouteSettings
from core.settings import Settings
from providers.factory import build_router, create_provider
from providers.router import DeploymentRouter
from tests.fakes.credentials import credentials

ROOT = Path(__file__).parents[2]
NO_KEYS = credentials()
OPENAI = NO_KEYS.model_copy(update={"openai_api_key": SecretStr("k")})
ANTHROPIC = NO_KEYS.model_copy(update={"anthropic_api_key": SecretStr("k")})
GEMINI = NO_KEYS.model_copy(update={"gemini_api_key": SecretStr("k")})
MANY = credentials(
    openai_api_key="k",
    anthropic_api_key="k",
    azure_openai_api_key="k",
    azure_openai_endpoint="http://127.0.0.1:1",
    azure_openai_deployment="ours",
    gemini_api_key="k",
    openrouter_api_key="k",
    groq_api_key="k",
    deepseek_api_key="k",
    ollama_host="127.0.0.1:1",
)
EVERYTHING = (
    "openai:gpt-6-sol",
    "anthropic:claude-sonnet-5-5",
    "azure:ours",
    "google:gemini-3.8-flash",
    "openrouter:openai/gpt-6-sol",
    "groq:openai/gpt-oss-120b",
    "deepseek:deepseek-v4-flash",
    "ollama:qwen3:8b",
)
BOTH = OPENAI.model_copy(update={"anthropic_api_key": SecretStr("k")})
LOCAL_ROUTE = ("local:smollm2-135m-instruct",)


async def built(settings: Settings) -> DeploymentRouter:
    router = build_router(settings)
    await router.close()
    return router


@pytest.mark.parametrize(
    ("keys", "route"),
    [
        (BOTH, ("openai:gpt-6-sol", "anthropic:claude-sonnet-5-5")),
        (OPENAI, ("openai:gpt-6-sol",)),
        (ANTHROPIC, ("anthropic:claude-sonnet-5-5",)),
        (GEMINI, ("google:gemini-3.8-flash",)),
        (NO_KEYS.model_copy(update={"ollama_host": "box"}), ("ollama:qwen3:8b",)),
        (MANY, EVERYTHING),
        (NO_KEYS, LOCAL_ROUTE),
        (NO_KEYS.model_copy(update={"openai_api_key": SecretStr(" ")}), LOCAL_ROUTE),
    ],
    ids=["both", "openai", "anthropic", "google", "ollama", "everything", "none", "blank"],
)
async def test_without_configuration_the_keys_make_the_route(
    keys: Credentials, route: tuple[str, ...]
) -> None:
    router = await built(Settings(credentials=keys))
    assert router.describe() == {"default": route}
    assert router.uses_only_local_model is (route == LOCAL_ROUTE)


async def test_a_configured_model_replaces_the_default_one() -> None:
    providers = {"openai": ProviderSettings(kind="openai", model="gpt-6-luna")}
    router = await built(Settings(credentials=OPENAI, providers=providers))
    assert router.describe() == {"default": ("openai:gpt-6-luna",)}


async def test_a_key_in_the_environment_adds_nothing_to_what_is_configured() -> None:
    house = ProviderSettings(kind="openai", model="house", base_url="http://127.0.0.1:1/v1")
    router = await built(Settings(credentials=BOTH, providers={"house": house}))
    assert router.describe() == {"default": ("house:house",)}


async def test_configured_routes_keep_their_order_beside_the_default_one() -> None:
    routes = {"fast": RouteSettings(deployments=("anthropic:claude-haiku-5-5", "openai"))}
    router = await built(Settings(credentials=BOTH, routes=routes))
    assert router.describe()["fast"] == ("anthropic:claude-haiku-5-5", "openai:gpt-6-sol")
    assert "default" in router.describe()


WRONG: Mapping[str, tuple[Settings, str]] = {
    "route": (
        Settings(credentials=OPENAI, routes={"fast": RouteSettings(deployments=("nobody:model",))}),
        r"\[routes.fast\].*'nobody'",
    ),
    "no key": (
        Settings(credentials=NO_KEYS, providers={"mine": ProviderSettings(kind="anthropic")}),
        "'mine'.*ANTHROPIC_API_KEY",
    ),
    "no model": (
        Settings(credentials=NO_KEYS, providers={"mine": ProviderSettings(kind="vllm")}),
        r"set \[providers.mine\] model",
    ),
    "openai url": (
        Settings(credentials=NO_KEYS.model_copy(update={"openai_base_url": "http://x"})),
        "OPENAI_BASE_URL is set, but OPENAI_API_KEY is not",
    ),
    "anthropic url": (
        Settings(credentials=OPENAI.model_copy(update={"anthropic_base_url": "http://x"})),
        "ANTHROPIC_BASE_URL is set",
    ),
}


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named(settings: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_router(settings)


async def test_the_key_of_the_configuration_goes_before_the_environment() -> None:
    own = ProviderSettings(kind="anthropic", api_key=SecretStr("own"))
    provider = create_provider("mine", own, NO_KEYS)
    await provider.close()
    assert provider.name == "mine"


def test_without_key_and_local_packages_the_error_says_what_to_set() -> None:
    script = (
        "import sys; sys.modules['xllamacpp'] = None\n"
        "from core.provider_settings import Credentials\n"
        "from core.settings import Settings\n"
        "from providers.factory import build_router\n"
        "build_router(Settings(credentials=Credentials()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigError: no model provider: set OPENAI_API_KEY or ANTHROPIC_API_KEY" in done.stderr
    assert "'xllamacpp' is not installed" in done.stderr


def test_importing_the_factory_imports_no_sdk() -> None:
    script = (
        "import sys, providers.factory\n"
        "heavy = {'openai', 'anthropic', 'xllamacpp', 'genai_prices', 'tiktoken', 'prefect'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
