"""What is kept of an answer, and what a place to keep it must be able to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol

from pydantic import ValidationError

from core.base import Value
from core.completion import Completion
from providers.response_cache_key import SCHEMA_VERSION


class CacheEntry(Value):
    """One kept answer. Times are aware; past ``expires_at`` it is not served."""

    schema_version: Literal[1] = SCHEMA_VERSION
    key: str
    namespace: str
    route: str
    stored_at: datetime
    expires_at: datetime
    completion: Completion


def read_entry(content: bytes, key: str) -> CacheEntry | None:
    """The entry, ``None`` where the content is damaged, of another version or of another key."""
    try:
        entry = CacheEntry.model_validate_json(content)
    except ValidationError:
        return None
    return entry if entry.key == key else None


class CacheStore(Protocol):
    """Keeps entries under their keys. Whatever fails inside is a miss and a warning, no error."""

    async def load(self, key: str) -> CacheEntry | None: ...

    async def save(self, entry: CacheEntry) -> None: ...

    async def delete(self, key: str) -> None: ...

    def entries(self) -> AsyncIterator[CacheEntry]:
        """Every readable entry of every namespace, in no order, expired ones too."""
        ...

    def leading(self, key: str, patience_seconds: float) -> AbstractAsyncContextManager[None]:
        """Held by one caller of all processes at a time: the others wait for it to end or die.

        Whoever has waited for ``patience_seconds`` goes on beside it.
        """
        ...

    async def close(self) -> None: ...
