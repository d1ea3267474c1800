"""Usage rows for tests, and a home to put them in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analytics.spool import SpoolWriter
from core.usage import UsageEvent

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def model_call(event_id: str, **fields: Any) -> UsageEvent:
    given: dict[str, Any] = {
        "ts": NOON,
        "run_key": "run-1",
        "provider_name": "openai",
        "deployment": "openai:small",
        "request_model": "small",
        **fields,
    }
    return UsageEvent(event_id=event_id, kind="model_call", operation_name="chat", **given)


def tool_run(event_id: str, **fields: Any) -> UsageEvent:
    given: dict[str, Any] = {"ts": NOON, "run_key": "run-1", "tool_name": "bash", **fields}
    return UsageEvent(event_id=event_id, kind="tool_run", operation_name="execute_tool", **given)


def seconds_after_noon(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def spool(home: Path, events: Iterable[UsageEvent]) -> None:
    """Writes the rows into one sealed segment."""
    writer = SpoolWriter(home / "spool")
    for event in events:
        writer.emit(event)
    writer.seal()
