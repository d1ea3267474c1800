"""Rate limits shared by every machine that uses one Prefect server: its global concurrency limits.

Each limit of ``[limits]`` becomes one or two of them, ``NAME rpm`` and ``NAME tpm`` (colons and
slashes become dashes), whose slots come back at the rate of the limit. They are buckets: after a
pause a full one lets its whole size through at once and refills meanwhile, so that one minute may
see up to twice the limit. The configuration wins over what was changed in the Prefect UI.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import httpx

from core.errors import EnvironmentUnusableError
from core.ports import Headroom, Reservation
from core.provider_settings import RateLimits
from providers.limits import limit_key

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

_LOCKED = 423
_USUAL_WAIT_SECONDS = 1.0
_SECONDS = 60.0
Unit = Literal["rpm", "tpm"]


class PrefectLimiter:
    """Implements ``core.ports.Limiter``; made by ``prefect_limiter``."""

    def __init__(self, client: PrefectClient, limits: Mapping[str, RateLimits]) -> None:
        self._client = client
        self._limits = dict(limits)

    async def create_limits(self) -> None:
        """Creates what is missing and sets what differs. Idempotent."""
        from prefect.client.schemas.actions import (
            GlobalConcurrencyLimitCreate,
            GlobalConcurrencyLimitUpdate,
        )
        from prefect.exceptions import ObjectAlreadyExists

        for key, limits in self._limits.items():
            for unit, limit in _units(limits).items():
                name = limit_name(key, unit)
                decay = limit / _SECONDS
                wanted = GlobalConcurrencyLimitCreate(
                    name=name, limit=limit, slot_decay_per_second=decay
                )
                try:
                    await self._client.create_global_concurrency_limit(wanted)
                except ObjectAlreadyExists:
                    update = GlobalConcurrencyLimitUpdate(
                        limit=limit, slot_decay_per_second=decay, active=True
                    )
                    await self._client.update_global_concurrency_limit(name, update)

    async def reserve(self, deployment: str, tokens: int) -> Reservation:
        """A request larger than the whole limit takes all of it."""
        key = limit_key(self._limits, deployment)
        if key is None:
            return Reservation(deployment, tokens)
        wanted = {"tpm": tokens, "rpm": 1}
        taken: list[tuple[Unit, int]] = []
        for unit, limit in sorted(_units(self._limits[key]).items(), reverse=True):
            slots = max(1, min(wanted[unit], limit))
            wait = await self._take(limit_name(key, unit), slots)
            if wait:
                for other, count in taken:
                    await self._give_back(limit_name(key, other), count)
                return Reservation(deployment, tokens, wait_seconds=wait)
            taken.append((unit, slots))
        return Reservation(deployment, tokens)

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """Gives back what was not used; what was used beyond the estimate is taken if there is."""
        key = limit_key(self._limits, reservation.deployment)
        limit = self._limits[key].tpm if key else None
        if key is None or limit is None:
            return
        beyond = min(tokens, limit) - max(1, min(reservation.tokens, limit))
        if beyond > 0:
            await self._take(limit_name(key, "tpm"), beyond)
        elif beyond < 0:
            await self._give_back(limit_name(key, "tpm"), -beyond)

    async def headroom(self, deployment: str) -> Headroom:
        key = limit_key(self._limits, deployment)
        if key is None:
            return Headroom()
        left: dict[str, int] = {}
        for unit, limit in _units(self._limits[key]).items():
            name = limit_name(key, unit)
            found = await self._client.read_global_concurrency_limit_by_name(name)
            left[unit] = max(0, limit - found.active_slots)
        return Headroom(requests=left.get("rpm"), tokens=left.get("tpm"))

    async def _take(self, name: str, slots: int) -> float:
        """Seconds to wait, 0 where the slots were taken."""
        try:
            await self._client.increment_concurrency_slots([name], slots, "rate_limit")
        except httpx.HTTPStatusError as error:
            if error.response.status_code != _LOCKED:
                raise
            asked = error.response.headers.get("retry-after")
            return max(0.001, float(asked)) if asked else _USUAL_WAIT_SECONDS
        return 0.0

    async def _give_back(self, name: str, slots: int) -> None:
        # How long they were held, which is told to others as their wait, is of no use here.
        await self._client.release_concurrency_slots([name], slots, occupancy_seconds=1.0)


@asynccontextmanager
async def prefect_limiter(limits: Mapping[str, RateLimits]) -> AsyncGenerator[PrefectLimiter]:
    """A limiter over the server that PREFECT_API_URL names, its limits created there.

    Raises:
        EnvironmentUnusableError: the server cannot be reached, or refuses.
    """
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        limiter = PrefectLimiter(client, limits)
        try:
            await limiter.create_limits()
        except httpx.HTTPError as error:
            problem = f"the Prefect server has no limits for us ({error})"
            raise EnvironmentUnusableError(f"[limits] backend = 'prefect': {problem}") from error
        yield limiter


def limit_name(key: str, unit: Unit) -> str:
    """The name of a limit in Prefect, which allows no colon, slash or percent sign in names."""
    return f"manus {re.sub(r'[/%&><:]', '-', key)} {unit}"


def _units(limits: RateLimits) -> dict[Unit, int]:
    every: dict[Unit, int | None] = {"rpm": limits.rpm, "tpm": limits.tpm}
    return {unit: limit for unit, limit in every.items() if limit is not None}
