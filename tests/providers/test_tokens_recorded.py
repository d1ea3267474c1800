"""Estimates against what the services charged for the same requests; ``-s`` shows by how much."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from core.completion import CompletionRequest, ToolDefinition
from core.message import user
from providers.tokens import estimate_request_tokens

CASSETTES = Path(__file__).parents[3] / "shared" / "cassettes"

pytestmark = pytest.mark.skipif(
    not CASSETTES.is_dir(), reason="the recorded exchanges are not beside this repository"
)


def texts_of(value: Any) -> list[str]:
    """Every text that a recorded message holds, of whatever protocol."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [text for item in items for text in texts_of(item)]
    kept = ("text", "content", "name", "arguments", "function", "tool_calls")
    given: dict[str, Any] = value or {}
    called = [json.dumps(given["input"])] if "input" in given else []
    return called + [text for key in kept if key in given for text in texts_of(given[key])]


def request_of(body: dict[str, Any]) -> CompletionRequest:
    system: Any = body.get("system") or body.get("instructions") or ""
    turns: list[Any] = body.get("messages") or body["input"]
    tools = [t.get("function") or t for t in body.get("tools", [])]
    definitions = [
        ToolDefinition(
            name=t["name"],
            description=t.get("description") or "",
            parameters=t.get("parameters") or t["input_schema"],
        )
        for t in tools
    ]
    said = [*texts_of(system), *(" ".join(texts_of(turn)) for turn in turns)]
    return CompletionRequest(messages=tuple(user(t) for t in said), tools=tuple(definitions))


@pytest.mark.parametrize(
    ("name", "number", "model", "bound"),
    [
        ("test_openai_prompt_cache/test_openai_chat_prompt_cache_e2e", 0, "gpt-5.6-sol", 0.02),
        ("test_openai_prompt_cache/test_openai_responses_prompt_cache_e2e", 0, "gpt-5.6-sol", 0.02),
        ("test_anthropic/test_anthropic_cache_real_api", 1, "claude-sonnet-4-5", 0.15),
    ],
)
def test_an_estimate_is_near_what_was_charged(
    name: str, number: int, model: str, bound: float
) -> None:
    text = (CASSETTES / f"{name}.yaml").read_text(encoding="utf-8")
    exchange = yaml.load(text, Loader=yaml.CSafeLoader)["interactions"][number]
    answer = exchange["response"]["parsed_body"]
    usage: dict[str, Any] = answer["usage"]
    truth = usage["prompt_tokens"] if "prompt_tokens" in usage else usage["input_tokens"]
    truth += usage.get("cache_creation_input_tokens", 0) + usage.get("cache_read_input_tokens", 0)
    counted = estimate_request_tokens(request_of(exchange["request"]["parsed_body"]), model=model)
    error = counted / truth - 1
    sys.stdout.write(f"\n{model}: {truth} tokens charged, counted {error:+.1%}")
    assert abs(error) <= bound
