"""What a call cost, from the published price lists that genai-prices carries offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import genai_prices
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

from core.completion import CostSource, TokenUsage
from core.provider_settings import ProviderSettings
from providers.price_rates import PriceRates
from providers.token_encodings import is_openai_model

_MILLION = Decimal(1_000_000)
_REMEMBERED_MODELS = 1024

Found = tuple[types.Provider, types.ModelInfo]


class Billed(Protocol):
    """What a price is asked for: an answer of any kind."""

    @property
    def provider(self) -> str: ...
    @property
    def deployment(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def usage(self) -> TokenUsage: ...


@dataclass(frozen=True, slots=True)
class Price:
    """``version`` is the release of the published lists, where the price is from there."""

    cost_usd: Decimal | None
    source: CostSource
    version: str | None = None


_UNKNOWN = Price(None, "unknown")


class PriceBook:
    """Prices by provider: the configuration's own first, then the published lists.

    Making one loads the lists (about half a second of CPU), so that no call pays for it.
    """

    def __init__(self, providers: Mapping[str, ProviderSettings]) -> None:
        self._providers = dict(providers)
        self._found: dict[tuple[str, str], Found | None] = {}
        self._rates = PriceRates()
        for name in self._providers:
            self.context_window(name, "")

    def cost_usd(self, answer: Billed) -> Decimal | None:
        """The price of a call, ``None`` where it is not known. A local model costs nothing."""
        return self.price(answer).cost_usd

    def price(self, answer: Billed) -> Price:
        """The price of a call and where it is from."""
        settings = self._providers.get(answer.provider)
        if settings is None:
            return _UNKNOWN
        if settings.kind == "local":
            return Price(Decimal(0), "local")
        configured = _configured(answer.usage, settings)
        if configured is not None:
            return Price(configured, "override")
        return self._published(answer)

    def context_window(self, provider: str, model: str) -> int | None:
        """Tokens that a model reads and writes in one call, ``None`` where it is not known."""
        settings = self._providers.get(provider)
        if settings is None or settings.kind == "local":
            return None
        found = self._find(provider, model)
        return found[1].context_window if found else None

    def _published(self, answer: Billed) -> Price:
        asked = answer.deployment.partition(":")[2]
        # What answered names its exact version; a list may know only the name that was asked for.
        for model in dict.fromkeys((answer.model, asked)):
            if found := self._find(answer.provider, model):
                cost = self._rates.cost_usd(found[1], answer.usage)
                version = genai_prices.__version__
                return _UNKNOWN if cost is None else Price(cost, "genai-prices", version)
        return _UNKNOWN

    def _find(self, provider: str, model: str) -> Found | None:
        key = (provider, model)
        if key not in self._found:
            if len(self._found) >= _REMEMBERED_MODELS:
                self._found.clear()
            self._found[key] = _look_up(self._providers[provider], model)
        return self._found[key]


def _configured(usage: TokenUsage, settings: ProviderSettings) -> Decimal | None:
    """By the configuration's flat prices; both must be set, since half a price is a wrong one."""
    read, written = settings.input_usd_per_million, settings.output_usd_per_million
    if read is None or written is None:
        return None
    return (usage.input_tokens * read + usage.output_tokens * written) / _MILLION


def _look_up(settings: ProviderSettings, model: str) -> Found | None:
    """The list's entry for a model of a provider.

    A compatible endpoint is recognised by its address; where it is not, only a vendor's own models
    are looked up, since what someone else charges for an open model says nothing.
    """
    lists = get_snapshot()
    openai = is_openai_model(model) or model.startswith("text-embedding-")
    own = settings.kind in ("anthropic", "bedrock") or openai
    places: list[tuple[str | None, str | None]] = [(None, settings.base_url)]
    places = places if settings.base_url else []
    places += [(settings.kind, None)] if own or not settings.base_url else []
    for vendor, address in places:
        try:
            return lists.find_provider_model(model, None, vendor, address)
        except LookupError:
            continue
    return None
