"""Which tools and which route an agent has here: what its file asks for, and what there is."""

from __future__ import annotations

from agents.loop import CONTEXT_TOKENS
from core.agent import AgentSpec
from core.errors import AnswerToModelError, ConfigError
from core.ports import Router
from tasks.services import Services

RUN_ROUTE = "default"
"""Named by an agent, it stands for the route of the run."""
USUAL_OUTPUT_TOKENS = 16_000
"""Kept free for the answer of an agent that limits none."""
MOST_CONTEXT_TOKENS = 200_000
"""However large the window is: each turn is paid for all of it, and beyond this often at more."""


def route_for(router: Router, agent: AgentSpec | None, chosen: str | None, run_route: str) -> str:
    """The route that was ``chosen`` (by a step), else the agent's first that exists.

    Raises:
        ConfigError: names the route that does not exist; of several, the last.
    """
    if chosen is not None or agent is None:
        router.check_route(chosen or run_route)
        return chosen or run_route
    *better, last = (run_route if name == RUN_ROUTE else name for name in agent.routes)
    for name in better:
        try:
            router.check_route(name)
        except ConfigError:
            continue
        return name
    router.check_route(last)
    return last


def context_tokens(router: Router, route: str, agent: AgentSpec) -> int:
    """How many tokens an agent's request may have, its tools included.

    What the smallest of the route's models can take, less the room for its answer, so that no
    failover ends at a window that is too small.
    """
    window = router.context_window(route)
    if window is None:
        return CONTEXT_TOKENS
    answer = agent.max_output_tokens or USUAL_OUTPUT_TOKENS
    return min(MOST_CONTEXT_TOKENS, window - min(answer, window // 2))


def usable_agents(services: Services, run_route: str) -> dict[str, AgentSpec]:
    """The agents whose tools and route are there: those that a planner may choose."""
    return {n: a for n, a in services.agents.items() if _is_usable(services, a, run_route)}


def _is_usable(services: Services, agent: AgentSpec, run_route: str) -> bool:
    try:
        services.tools.definitions(agent.tools_among(services.tools.names))
        route_for(services.router, agent, None, run_route)
    except (AnswerToModelError, ConfigError):
        return False
    return True
