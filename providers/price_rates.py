"""What a token of a published model costs, worked out once per price and tier.

The lists' own calculation takes a tenth of a millisecond per call, as long as all the rest of the
router. Within one tier of one price it is linear in each kind of token, so that four of its results
give all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from genai_prices import Usage, types

from core.completion import TokenUsage

_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class _Rates:
    """USD per token, and per call. ``price`` is what they are worked out from."""

    price: types.ModelPrice
    per_call: Decimal
    plain: Decimal
    written: Decimal
    cache_read: Decimal
    cache_write: Decimal

    def total(self, usage: TokenUsage) -> Decimal:
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        return (
            self.per_call
            + plain * self.plain
            + usage.output_tokens * self.written
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_tokens * self.cache_write
        )


class PriceRates:
    """Remembers the last 512 prices, one for each tier that was asked for."""

    def __init__(self) -> None:
        self._rates: OrderedDict[tuple[int, int], _Rates] = OrderedDict()

    def cost_usd(self, model: types.ModelInfo, usage: TokenUsage) -> Decimal | None:
        """The same as the lists' own ``calc_price`` says of a call made now.

        ``None`` where a provider says that more was read from its cache than was read at all.
        """
        if usage.cache_read_tokens + usage.cache_write_tokens > usage.input_tokens:
            return None
        price = model.get_prices(datetime.now(UTC))
        key = (id(price), bisect_left(_tier_starts(price), usage.input_tokens))
        rates = self._rates.get(key)
        if rates is None or rates.price is not price:
            rates = self._rates[key] = _work_out(price, max(1, usage.input_tokens))
            while len(self._rates) > _REMEMBERED:
                self._rates.popitem(last=False)
        return rates.total(usage)


def _tier_starts(price: types.ModelPrice) -> list[int]:
    tiered = [p for p in vars(price).values() if isinstance(p, types.TieredPrices)]
    return sorted({tier.start for p in tiered for tier in p.tiers}) if tiered else []


def _work_out(price: types.ModelPrice, read: int) -> _Rates:
    """``read`` input tokens choose the tier, and are enough for each kind of them."""
    per_call = _calculate(price, TokenUsage())
    plain = _calculate(price, TokenUsage(input_tokens=read))
    written = _calculate(price, TokenUsage(input_tokens=read, output_tokens=1)) - plain
    cached = TokenUsage(input_tokens=read, cache_read_tokens=read)
    stored = TokenUsage(input_tokens=read, cache_write_tokens=read)
    return _Rates(
        price=price,
        per_call=per_call,
        plain=(plain - per_call) / read,
        written=written,
        cache_read=(_calculate(price, cached) - per_call) / read,
        cache_write=(_calculate(price, stored) - per_call) / read,
    )


def _calculate(price: types.ModelPrice, usage: TokenUsage) -> Decimal:
    counted = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    return price.calc_price(counted)["total_price"]
