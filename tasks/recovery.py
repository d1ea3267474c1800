"""What a run spent before this process: read from its committed records, told again."""

from __future__ import annotations

from core.result import Spend
from tasks.budget import spend_of
from tasks.model_call import ModelCallRecord
from tasks.run import Run
from tasks.store import RecordStorage, values_under
from tasks.tool import ToolRunRecord


def recall(run: Run, storage: RecordStorage) -> None:
    """Counts every committed call against the budget, once, and sends its usage row again.

    A finished step is not replayed call by call, and an attempt that was given up not at all: what
    they spent is spent all the same, and a kill may have come between a record and its row.
    Idempotent: a row that arrived before is not added again.
    """
    for value in values_under(storage, run.key):
        match value:
            case ModelCallRecord():
                run.meter.add(spend_of(value.completion))
            case ToolRunRecord():
                run.meter.add(Spend(tool_calls=1))
            case _:
                continue
        run.emit(value.event.model_copy(update={"replayed": True}))
