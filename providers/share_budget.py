"""What may be done beside the calls themselves: a share of them, retries or second asks."""

from __future__ import annotations

_MOST = 100.0


class ShareBudget:
    """Earns ``share`` per call. ``reserve`` is there from the start and grows back in time.

    Without a reserve a process with few calls could never retry at all. ``now`` is any clock that
    only goes forward, in seconds.
    """

    def __init__(self, share: float, reserve: float, per_second: float = 0.0) -> None:
        self._share = share
        self._reserve = reserve
        self._per_second = per_second
        self._left = reserve
        self._at: float | None = None

    def earn(self) -> None:
        """One call came in."""
        self._left = min(max(_MOST, self._reserve), self._left + self._share)

    def spend(self, now: float) -> bool:
        """Takes one where there is one."""
        self._refill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _refill(self, now: float) -> None:
        passed = now - self._at if self._at is not None else 0.0
        self._at = now
        if self._left < self._reserve:
            self._left = min(self._reserve, self._left + passed * self._per_second)
