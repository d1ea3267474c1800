"""When task runs are repeated and when their results are reused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from prefect import Task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun, TaskRunResult
from prefect.context import TaskRunContext
from prefect.task_engine import run_task
from prefect.utilities.annotations import quote

from core.errors import AllDeploymentsFailedError, RetryableError

LONGEST_WAIT_SECONDS = 300.0
"""Between two tries of a task, whatever providers ask for."""


def _key_parameter(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
    return parameters["key"]


KEY_PARAMETER = CacheKeyFnPolicy(cache_key_fn=_key_parameter)
"""The task's ``key`` argument names its record: positions, not contents (see ``Position``)."""


async def is_infrastructure_failure(
    task: Task[Any, Any], task_run: TaskRun, state: State[Any]
) -> bool:
    """Whether Prefect should run the same attempt again: what is committed is replayed, not paid.

    An honest bad outcome is not retried in place, it would only replay itself; the scheduler gives
    it a new attempt number. Must be async: Prefect never retries on a sync one here.
    """
    outcome = await state.aresult(raise_on_failure=False)
    if not isinstance(outcome, RetryableError | AllDeploymentsFailedError):
        return False
    if isinstance(outcome, AllDeploymentsFailedError) and not outcome.retryable:
        return False
    await _wait_as_asked(outcome.retry_after_seconds, task.retry_delay_seconds)
    return True


async def _wait_as_asked(asked: float | None, delay: Any) -> None:
    """What the providers asked for beyond the task's own delay, which Prefect waits after this.

    A retry before they are ready would only fail again.
    """
    own = float(delay) if isinstance(delay, int | float) else 0.0
    if asked is not None and asked > own:
        await asyncio.sleep(min(asked, LONGEST_WAIT_SECONDS) - own)


async def state_of(
    task: Task[..., Any], *, after: Sequence[State[Any]] = (), **parameters: Any
) -> State[Any]:
    """Runs an async task and returns its final state, whatever it is.

    ``after`` are the final states of the task runs that the UI draws edges from. Prefect's own ways
    to say so are not for here: ``wait_for`` reads every result again in another thread while the
    event loop stands still, and leaves a task NotReady below a failed one. Arguments are quoted,
    for Prefect looks into others for results of earlier tasks by object id, and draws edges to
    whatever had that id before.
    """
    quoted = {name: quote(value) for name, value in parameters.items()}
    ids = [s.state_details.task_run_id for s in after]
    inputs = set(cast(list[Any], [TaskRunResult(id=i) for i in ids if i]))
    return await cast(Any, run_task)(
        task,
        parameters=quoted,
        return_type="state",
        # Inputs that are no parameter's are refused, so they go under the first one's name.
        dependencies={next(iter(quoted)): inputs},
    )
