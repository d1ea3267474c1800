"""Notices an agent that goes round in circles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from core.fingerprint import fingerprint
from core.message import TextPart, ToolCallPart
from core.ports import ToolAnswer

HINT = (
    "You have made the same calls with the same results {times} times. Repeating them will change "
    "nothing: try another way, or call terminate with status 'failure' and say what is in the way."
)


class RepetitionDetector:
    """Counts rounds of tool calls that brought nothing new.

    A round is its calls, their results and the state they left, whatever the order. The same call
    with a new result is progress (polling), and so is the same result from another call. Anything
    new begins the count again, so that running the same tests between different edits is no circle;
    a circle of several rounds (a, b, a, b, ...) is one when each of them came back often enough.
    """

    def __init__(self, hint_after: int = 3, stop_after: int = 5) -> None:
        self._hint_after = hint_after
        self._stop_after = stop_after
        self._known: set[str] = set()
        self._repeated: Counter[str] = Counter()

    def observe(self, calls: Sequence[ToolCallPart], answers: Sequence[ToolAnswer]) -> None:
        asked = sorted(fingerprint(c.name, c.arguments) for c in calls)
        key = fingerprint(asked, sorted(_result(a) for a in answers))
        if key in self._known:
            self._repeated[key] += 1
        else:
            self._known.add(key)
            self._repeated.clear()

    @property
    def hint(self) -> str | None:
        """What to tell the model on its next turn, once per circle."""
        if not self._repeated:
            return None
        length = len(self._repeated)
        if self._repeated.total() != (self._hint_after - 1) * length:
            return None
        return HINT.format(times=self._hint_after)

    @property
    def stuck(self) -> bool:
        return bool(self._repeated) and min(self._repeated.values()) >= self._stop_after - 1


def _result(answer: ToolAnswer) -> str:
    """Of the state, the text: pictures of a page that stands still may differ."""
    state = [p.text for p in answer.state if isinstance(p, TextPart)]
    return fingerprint(answer.part.text, answer.part.is_error, state)
