"""When the environment configures Bedrock, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from core.completion import Completion, StopReason, TokenUsage
from core.provider_settings import ProviderSettings
from core.settings import Settings
from providers.deployment import DEFAULT_MODELS
from providers.factory import build_router
from providers.prices import PriceBook
from tests.fakes.credentials import credentials

ROOT = Path(__file__).parents[2]
DEPLOYED = f"bedrock:{DEFAULT_MODELS['bedrock']}"


@pytest.mark.parametrize("key", ["aws_access_key_id", "aws_bearer_token_bedrock", "aws_profile"])
@pytest.mark.parametrize("region", ["aws_region", "aws_default_region"])
async def test_any_credentials_with_any_region_make_the_route(
    key: str, region: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile house]\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    found = credentials(**{key: "house", region: "eu-central-1"})
    router = build_router(Settings(credentials=found))
    await router.close()
    assert router.describe() == {"default": (DEPLOYED,)}


@pytest.mark.parametrize("variable", ["aws_access_key_id", "aws_region"])
async def test_half_of_it_configures_nothing_and_is_no_error(variable: str) -> None:
    found = credentials(anthropic="http://127.0.0.1:1", **{variable: "something"})
    router = build_router(Settings(credentials=found))
    await router.close()
    assert router.describe() == {"default": ("anthropic:claude-sonnet-5-5",)}


async def test_other_keys_go_before_those_of_aws() -> None:
    aws = {"aws_access_key_id": "k", "aws_region": "us-east-1"}
    found = credentials(openai="http://127.0.0.1:1/v1", **aws)
    router = build_router(Settings(credentials=found))
    await router.close()
    assert router.describe()["default"] == ("openai:gpt-6-sol", DEPLOYED)


@pytest.mark.parametrize("model", [DEFAULT_MODELS["bedrock"], "eu.anthropic.claude-sonnet-5-5"])
def test_a_profile_has_a_price_and_a_window(model: str) -> None:
    book = PriceBook({"bedrock": ProviderSettings(kind="bedrock", region="us-east-1")})
    completion = Completion(
        parts=(),
        stop_reason=StopReason.END,
        provider="bedrock",
        deployment=f"bedrock:{model}",
        model=model,
        usage=TokenUsage(input_tokens=1000, output_tokens=100),
    )
    assert (book.cost_usd(completion) or 0) > Decimal(0)
    assert (book.context_window("bedrock", model) or 0) >= 200_000


def test_nobody_pays_for_boto3_before_a_provider_needs_it() -> None:
    script = "import sys, providers.factory\nprint('boto3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
