"""How long a deployment takes to answer, learned from its answers, the newest counting most."""

from __future__ import annotations

from collections import deque

_KEPT_SHARE = 0.8
"""What an older answer still counts after each newer one."""
_REMEMBERED = 64
_ENOUGH_FOR_A_PERCENTILE = 20


class LatencyModel:
    """Seconds to the first token plus seconds per output token.

    Answers that were not streamed tell only their sum: the two are then told apart by an
    exponentially weighted regression of the sum on the number of output tokens.
    ``half_life_seconds`` is how soon a deployment that nobody asks any more is thought half as
    slow, so that one that was slow is tried again. Times are any clock that only goes forward.
    """

    def __init__(self, half_life_seconds: float) -> None:
        self._half_life_seconds = half_life_seconds
        self._weight = self._tokens = self._seconds = self._squares = self._products = 0.0
        self._first: float | None = None
        self._at = 0.0
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)

    def observe(
        self, seconds: float, output_tokens: int, now: float, first: float | None = None
    ) -> None:
        """One answer; ``first`` is its time to the first token where that is known."""
        self._weight = self._weight * _KEPT_SHARE + 1
        self._tokens = self._tokens * _KEPT_SHARE + output_tokens
        self._seconds = self._seconds * _KEPT_SHARE + seconds
        self._squares = self._squares * _KEPT_SHARE + output_tokens**2
        self._products = self._products * _KEPT_SHARE + output_tokens * seconds
        if first is not None:
            before = first if self._first is None else self._first
            self._first = before * _KEPT_SHARE + first * (1 - _KEPT_SHARE)
        self._at = now
        self._recent.append(seconds)

    @property
    def output_tokens(self) -> float | None:
        """Of a usual answer."""
        return self._tokens / self._weight if self._weight else None

    @property
    def first_token_seconds(self) -> float | None:
        if self._first is not None or not self._weight:
            return self._first
        return max(0.0, (self._seconds - self._slope() * self._tokens) / self._weight)

    @property
    def seconds_per_token(self) -> float | None:
        return self._slope() if self._weight else None

    def expected_seconds(self, output_tokens: float, now: float) -> float | None:
        """For an answer of so many tokens, ``None`` before the first one."""
        first = self.first_token_seconds
        if first is None:
            return None
        age = max(0.0, now - self._at)
        faded = 0.5 ** (age / self._half_life_seconds)
        return (first + self._slope() * output_tokens) * faded

    def percentile(self, share: float) -> float | None:
        """Of the last 64 answers' seconds, ``None`` where they are too few to tell."""
        if len(self._recent) < _ENOUGH_FOR_A_PERCENTILE:
            return None
        return sorted(self._recent)[min(len(self._recent) - 1, int(share * len(self._recent)))]

    def _slope(self) -> float:
        mean = self._tokens / self._weight
        spread = self._squares / self._weight - mean**2
        if self._first is not None:
            return max(0.0, (self._seconds / self._weight - self._first) / max(1.0, mean))
        # Answers of about one length cannot tell what a token takes.
        if spread < 1 + 0.01 * mean**2:
            return 0.0
        slope = (self._products / self._weight - mean * self._seconds / self._weight) / spread
        return min(max(0.0, slope), self._seconds / max(1.0, self._tokens))
