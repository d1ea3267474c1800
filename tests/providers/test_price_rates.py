"""The remembered rates say what the published lists' own calculation says."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, types
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from core.completion import TokenUsage
from providers.price_rates import PriceRates

MODELS = [
    (provider, model)
    for provider in get_snapshot().providers
    if provider.id in ("openai", "anthropic", "google", "deepseek", "aws", "azure")
    for model in provider.models
]
RATES = PriceRates()
"""One for all of the examples, so that what is remembered is used."""


def published(provider: types.Provider, model: types.ModelInfo, usage: TokenUsage) -> Decimal:
    counted = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    now = datetime.now(UTC)
    return model.calc_price(counted, provider, genai_request_timestamp=now).total_price


@given(
    which=st.sampled_from(range(len(MODELS))),
    parts=st.tuples(*[st.integers(0, 900_000)] * 3),
    written=st.integers(0, 200_000),
)
@settings(deadline=None, max_examples=300)
def test_every_price_is_the_lists_own(
    which: int, parts: tuple[int, int, int], written: int
) -> None:
    plain, read, stored = parts
    usage = TokenUsage(
        input_tokens=plain + read + stored,
        output_tokens=written,
        cache_read_tokens=read,
        cache_write_tokens=stored,
    )
    provider, model = MODELS[which]
    assert RATES.cost_usd(model, usage) == published(provider, model, usage)


@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_the_edge_of_a_tier_belongs_to_the_cheaper_one(beside: int) -> None:
    found = get_snapshot().find_provider_model("gpt-6-sol", None, "openai", None)
    prices = vars(found[1].get_prices(datetime.now(UTC))).values()
    start = next(p.tiers[0].start for p in prices if isinstance(p, types.TieredPrices))
    usage = TokenUsage(input_tokens=start + beside, output_tokens=7)
    assert RATES.cost_usd(found[1], usage) == published(*found, usage)


def test_more_read_from_the_cache_than_read_at_all_has_no_price() -> None:
    found = get_snapshot().find_provider_model("claude-sonnet-5-5", None, "anthropic", None)
    usage = TokenUsage(input_tokens=10, cache_read_tokens=20)
    assert RATES.cost_usd(found[1], usage) is None
