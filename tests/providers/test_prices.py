"""What calls cost, and where that is not known."""

from __future__ import annotations

from decimal import Decimal

from core.completion import Completion, StopReason, TokenUsage
from core.provider_settings import ProviderSettings
from providers.prices import PriceBook

OPENAI = ProviderSettings(kind="openai")
HOUSE = ProviderSettings(kind="openai", base_url="http://127.0.0.1:9/v1")
BOOK = PriceBook(
    {
        "openai": OPENAI,
        "anthropic": ProviderSettings(kind="anthropic"),
        "local": ProviderSettings(kind="local"),
        "house": HOUSE,
        "flat": HOUSE.model_copy(
            update={
                "input_usd_per_million": Decimal(2),
                "output_usd_per_million": Decimal(10),
            }
        ),
        "free": HOUSE.model_copy(
            update={"input_usd_per_million": Decimal(0), "output_usd_per_million": Decimal(0)}
        ),
        "half": HOUSE.model_copy(update={"input_usd_per_million": Decimal(2)}),
    }
)


def cost(provider: str, model: str, **tokens: int) -> Decimal | None:
    usage = TokenUsage.model_validate({"input_tokens": 1000, "output_tokens": 100} | tokens)
    completion = Completion(
        parts=(),
        stop_reason=StopReason.END,
        provider=provider,
        deployment=f"{provider}:{model}",
        model=model,
        usage=usage,
    )
    return BOOK.cost_usd(completion)


def test_published_prices_are_used() -> None:
    assert cost("openai", "gpt-6-sol") == Decimal("0.003")  # 1000 x $2/M + 100 x $10/M
    assert (cost("anthropic", "claude-sonnet-5-5") or 0) > 0


def test_a_long_prompt_pays_the_tier_of_long_prompts() -> None:
    short = cost("openai", "gpt-6-sol", input_tokens=100_000)
    long = cost("openai", "gpt-6-sol", input_tokens=400_000)
    assert short is not None
    assert long is not None
    assert long > 4 * short


def test_what_is_read_from_the_cache_costs_less() -> None:
    plain = cost("anthropic", "claude-sonnet-5-5")
    cached = cost("anthropic", "claude-sonnet-5-5", cache_read_tokens=900)
    assert plain is not None
    assert cached is not None
    assert cached < plain


def test_an_unknown_price_is_unknown() -> None:
    assert cost("openai", "gpt-99-nobody") is None
    assert cost("house", "llama-3.3-70b") is None
    assert cost("nobody", "gpt-6-sol") is None
    assert cost("half", "house-model") is None


def test_configured_prices_win_even_at_nothing() -> None:
    assert cost("flat", "house-model") == Decimal("0.003")
    assert cost("free", "gpt-6-sol") == 0


def test_the_local_model_is_free() -> None:
    assert cost("local", "smollm2-135m-instruct") == 0


def test_windows_are_known_for_published_models_only() -> None:
    assert (BOOK.context_window("openai", "gpt-6-sol") or 0) > 100_000
    assert BOOK.context_window("house", "house-model") is None
