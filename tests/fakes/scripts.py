"""Ready-made scripts, also by name for a server in its own process."""

from __future__ import annotations

from collections.abc import Sequence

from tests.fakes.script import Answer, Fault, RecordedRequest, Script


def echo(request: RecordedRequest) -> Answer:
    """Says back the last message."""
    return Answer(text=f"echo: {request.last_text}")


def always(reply: Answer | Fault) -> Script:
    return lambda _: reply


def in_turn(replies: Sequence[Answer | Fault]) -> Script:
    """One reply after the other, the last one for ever."""
    return lambda request: replies[min(request.index, len(replies) - 1)]
