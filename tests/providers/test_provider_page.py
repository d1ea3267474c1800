"""The configuration that docs/providers.md shows."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Generator
from pathlib import Path

import pytest

from core.settings import load_settings
from providers.factory import build_router
from providers.strategies import STRATEGIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
EXAMPLES: list[str] = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture(autouse=True)
def keys() -> Generator[None]:
    """Loading settings reads ``.env`` into the environment, which is put back as it was."""
    former = dict(os.environ)
    for name in former:
        if name.startswith(("MANUS_", "OPENAI_", "GEMINI_", "GOOGLE_", "AZURE_")):
            del os.environ[name]
    os.environ |= {"OPENAI_API_KEY": "key", "GEMINI_API_KEY": "key"}
    yield
    os.environ.clear()
    os.environ.update(former)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_an_example_loads_and_makes_a_router(number: int, tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    (tmp_path / "manus.toml").write_text(EXAMPLES[number], encoding="utf-8")
    settings = load_settings(tmp_path)
    router = build_router(settings)
    try:
        assert router.describe().keys() >= settings.routes.keys() >= {"default"}
        given = tomllib.loads(EXAMPLES[number])
        assert settings.providers.keys() >= given.get("providers", {}).keys()
        for name in settings.routes:
            assert router.deployments_of(name)
    finally:
        await router.close()


def test_there_are_two_examples_and_every_strategy_is_explained() -> None:
    assert len(EXAMPLES) == 2
    explained = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(explained) == sorted(STRATEGIES)
