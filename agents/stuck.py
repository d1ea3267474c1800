"""Notices an agent that goes round in circles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from core.fingerprint import fingerprint
from core.message import ToolCallPart, ToolResultPart

HINT = (
    "You have made the same calls with the same results {times} times. Repeating them will change "
    "nothing: try another way, or call terminate with status 'failure' and say what is in the way."
)


class RepetitionDetector:
    """Counts rounds of identical tool calls that had identical results.

    The same call with a new result is progress (polling); the same result from another call too.
    """

    def __init__(self, hint_after: int = 3, stop_after: int = 5) -> None:
        self._hint_after = hint_after
        self._stop_after = stop_after
        self._seen: Counter[str] = Counter()
        self._times = 0

    def observe(self, calls: Sequence[ToolCallPart], results: Sequence[ToolResultPart]) -> None:
        asked = sorted(fingerprint(c.name, c.arguments) for c in calls)
        got = sorted(fingerprint(r.text, r.is_error) for r in results)
        key = fingerprint(asked, got)
        self._seen[key] += 1
        self._times = self._seen[key]

    @property
    def hint(self) -> str | None:
        """What to tell the model now, once per repetition from ``hint_after`` on."""
        return HINT.format(times=self._times) if self._times >= self._hint_after else None

    @property
    def stuck(self) -> bool:
        return self._times >= self._stop_after
