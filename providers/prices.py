"""What a call cost, from the published price lists that genai-prices carries offline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from genai_prices import Usage, types
from genai_prices.data_snapshot import get_snapshot

from core.completion import Completion
from core.provider_settings import ProviderSettings
from providers.tokens import is_openai_model

_MILLION = Decimal(1_000_000)


class PriceBook:
    """Prices by provider: the configuration's own first, then the published lists.

    Making one loads the lists (about half a second of CPU), so that no call pays for it.
    """

    def __init__(self, providers: Mapping[str, ProviderSettings]) -> None:
        self._providers = dict(providers)
        for name in self._providers:
            self.context_window(name, "")

    def cost_usd(self, completion: Completion) -> Decimal | None:
        """The price of a call, ``None`` where it is not known. A local model costs nothing."""
        settings = self._providers.get(completion.provider)
        if settings is None:
            return None
        if settings.kind == "local":
            return Decimal(0)
        configured = _configured(completion, settings)
        return configured if configured is not None else _published(completion, settings)

    def context_window(self, provider: str, model: str) -> int | None:
        """Tokens that a model reads and writes in one call, ``None`` where it is not known."""
        settings = self._providers.get(provider)
        if settings is None or settings.kind == "local":
            return None
        found = _find(settings, model)
        return found[1].context_window if found else None


def _published(completion: Completion, settings: ProviderSettings) -> Decimal | None:
    usage = completion.usage
    counted = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    asked = completion.deployment.partition(":")[2]
    # What answered names its exact version; a list may know only the name that was asked for.
    for model in dict.fromkeys((completion.model, asked)):
        if found := _find(settings, model):
            vendor, info = found
            return info.calc_price(
                counted, vendor, genai_request_timestamp=datetime.now(UTC)
            ).total_price
    return None


def _configured(completion: Completion, settings: ProviderSettings) -> Decimal | None:
    """By the configuration's flat prices; both must be set, since half a price is a wrong one."""
    read, written = settings.input_usd_per_million, settings.output_usd_per_million
    if read is None or written is None:
        return None
    usage = completion.usage
    return (usage.input_tokens * read + usage.output_tokens * written) / _MILLION


def _find(settings: ProviderSettings, model: str) -> tuple[types.Provider, types.ModelInfo] | None:
    """The list's entry for a model of a provider.

    A compatible endpoint is recognised by its address; where it is not, only a vendor's own models
    are looked up, since what someone else charges for an open model says nothing.
    """
    lists = get_snapshot()
    own = settings.kind in ("anthropic", "bedrock") or is_openai_model(model)
    places: list[tuple[str | None, str | None]] = [(None, settings.base_url)]
    places = places if settings.base_url else []
    places += [(settings.kind, None)] if own or not settings.base_url else []
    for vendor, address in places:
        try:
            return lists.find_provider_model(model, None, vendor, address)
        except LookupError:
            continue
    return None
