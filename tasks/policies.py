"""When task runs are repeated and when their results are reused."""

from __future__ import annotations

from typing import Any, cast

from prefect import Task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.utilities.annotations import quote

from core.errors import AllDeploymentsFailedError, RetryableError


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
    if isinstance(outcome, AllDeploymentsFailedError):
        return outcome.retryable
    return isinstance(outcome, RetryableError)


async def state_of(
    task: Task[..., Any], *args: Any, wait_for: Any = None, **kwargs: Any
) -> State[Any]:
    """Calls an async task and returns its final state, whatever it is.

    Arguments are quoted: Prefect looks into others for results of earlier tasks, by object id, and
    draws edges to whatever had that id before. Ours are ``wait_for``'s alone. The cast is because
    Prefect types ``return_state`` for sync tasks only.
    """
    quoted = [quote(a) for a in args]
    named = {name: quote(value) for name, value in kwargs.items()}
    call = cast(Any, task)
    return await call(*quoted, **named, return_state=True, wait_for=wait_for)
