"""``provider_health`` against a provider that answers and one that does not."""

from __future__ import annotations

import pytest

from core.errors import EnvironmentUnusableError
from flows.health import provider_health
from tests.flows.conftest import Stage


async def test_it_reports_who_can_be_reached(stage: Stage) -> None:
    statuses = await provider_health()
    assert [(s.name, s.reachable) for s in statuses if s.name == "openai"] == [("openai", True)]


async def test_it_fails_when_nobody_can_be_reached(stage: Stage) -> None:
    stage.home.mkdir()
    text = (
        '[providers.gone]\nkind = "openai"\napi_key = "x"\nmodel = "m"\n'
        'base_url = "http://127.0.0.1:9/v1"\n'
    )
    (stage.home / "manus.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY")
        patch.delenv("OPENAI_BASE_URL")
        with pytest.raises(EnvironmentUnusableError, match="gone"):
            await provider_health()
