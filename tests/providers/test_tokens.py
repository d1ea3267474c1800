"""Token estimates. The expected counts are those of the o200k encoding."""

from __future__ import annotations

import pytest

from core.completion import CompletionRequest, ToolDefinition
from core.message import ImagePart, user
from providers.tokens import (
    TOKENS_PER_IMAGE,
    estimate_request_tokens,
    estimate_text_tokens,
    is_openai_model,
)

PROSE = "The quick brown fox jumps over the lazy dog. " * 20  # 10 tokens each, 200 in all
DIGITS = "1234567890"  # 4 tokens


def test_prose_is_estimated_closely() -> None:
    assert estimate_text_tokens(PROSE) == pytest.approx(201, rel=0.15)


def test_digits_count_by_threes() -> None:
    assert estimate_text_tokens(DIGITS) == 4


def test_wide_characters_count_about_one_each() -> None:
    assert estimate_text_tokens("東京都千代田区" * 10) == pytest.approx(70, rel=0.3)


def test_a_request_counts_its_tools_and_images() -> None:
    plain = CompletionRequest(messages=(user("hello"),))
    tool = ToolDefinition(name="look", description=PROSE, parameters={"type": "object"})
    pixel = ImagePart(media_type="image/png", data="AAAA" * 10_000)
    base = estimate_request_tokens(plain, model="claude-sonnet-5-5")
    with_tool = plain.model_copy(update={"tools": (tool,)})
    assert estimate_request_tokens(with_tool, model="claude-sonnet-5-5") > base + 150
    pictured = CompletionRequest(messages=(user("hello", pixel),))
    counted = estimate_request_tokens(pictured, model="claude-sonnet-5-5")
    assert counted == base + TOKENS_PER_IMAGE


@pytest.mark.parametrize(
    ("model", "own"),
    [("gpt-6-sol", True), ("openai/o3", True), ("gpt-oss:20b", False), ("llama-4", False)],
)
def test_models_of_openai_are_told_by_their_names(model: str, own: bool) -> None:
    assert is_openai_model(model) is own
