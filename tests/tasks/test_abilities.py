"""What an agent has here: how much of a conversation its route's models can take."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.loop import CONTEXT_TOKENS
from core.agent import AgentSpec
from core.errors import ConfigError
from core.provider_settings import RouteSettings
from core.settings import Settings
from providers.factory import build_router
from providers.router import DeploymentRouter
from tasks.abilities import MOST_CONTEXT_TOKENS, USUAL_OUTPUT_TOKENS, context_tokens
from tests.fakes.credentials import credentials

SMALL, LARGE, UNKNOWN = "openai:gpt-4", "openai:gpt-6-sol", "openai:nobody-knows-it"
AGENT = AgentSpec(name="clerk", description="Writes.", prompt="You write.")


def router(home: Path, *deployments: str) -> DeploymentRouter:
    routes = {
        "default": RouteSettings(deployments=deployments),
        "small": RouteSettings(deployments=(SMALL,)),
    }
    keys = credentials(openai="http://127.0.0.1:9/v1")
    return build_router(Settings(home=home, credentials=keys, routes=routes))


async def test_the_smallest_window_of_a_route_counts_less_the_room_for_an_answer(
    home: Path,
) -> None:
    both = router(home, LARGE, UNKNOWN, SMALL)
    window = both.context_window("default")
    assert window == both.context_window("small") == 8192
    assert context_tokens(both, "default", AGENT) == 8192 // 2
    brief = AGENT.model_copy(update={"max_output_tokens": 1000})
    assert context_tokens(both, "default", brief) == 8192 - 1000
    await both.close()


async def test_a_large_window_is_not_filled_and_an_unknown_one_is_guessed(home: Path) -> None:
    one = router(home, LARGE)
    window = one.context_window("default")
    assert window
    assert window > MOST_CONTEXT_TOKENS + USUAL_OUTPUT_TOKENS
    assert context_tokens(one, "default", AGENT) == MOST_CONTEXT_TOKENS
    assert one.context_window(UNKNOWN) is None
    assert context_tokens(one, UNKNOWN, AGENT) == CONTEXT_TOKENS
    with pytest.raises(ConfigError):
        one.context_window("nowhere")
    await one.close()
