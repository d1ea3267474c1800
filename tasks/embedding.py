"""Texts as vectors, accounted like every other call to a provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import uuid4

from core.embedding import EmbeddingRequest, Embeddings
from core.ports import CallEstimate, FailedTry
from core.usage import UsageEvent
from providers.generous import generous_text_tokens
from tasks.accounting import with_failure, with_vectors
from tasks.budget import spend_of
from tasks.run import Run
from tasks.services import Services
from tasks.spending import set_aside

OUTSIDE_OF_RUNS = "embeddings"
"""The run key of calls that belong to no run."""


async def embed(
    texts: Sequence[str],
    route: str = "default",
    *,
    services: Services,
    run: Run | None = None,
    purpose: Literal["document", "query"] = "document",
    dimensions: int | None = None,
) -> Embeddings:
    """One vector per text, from the model of the route's first deployment.

    Under the budgets of the day, and of ``run`` and its tags where one is given. Each try leaves a
    usage row. It is not durable: asked again, it is paid again.

    Raises:
        BudgetExceededError: nobody was asked.
        UnsupportedError: the route has nobody who embeds.
        AllDeploymentsFailedError, ProviderRejectedError: from the router.
    """
    request = EmbeddingRequest(
        texts=tuple(texts), route=route, purpose=purpose, dimensions=dimensions
    )
    tokens = sum(generous_text_tokens(text) for text in texts)
    estimate = CallEstimate(input_tokens=tokens, output_tokens=0, cost_usd=None)
    tries: list[FailedTry] = []
    tags = run.options.tags if run else ()
    async with set_aside(run and run.meter, services.ledger, estimate, tags) as bill:
        try:
            answer = await services.router.generate_embeddings(request, on_failed_try=tries.append)
            bill.spent = spend_of(answer)
        finally:
            for failed in tries:
                _emit(with_failure(_row(route), failed, route), services, run)
        _emit(with_vectors(_row(route), answer), services, run)
    return answer


def _row(route: str) -> UsageEvent:
    return UsageEvent(
        event_id=uuid4().hex,
        kind="model_call",
        run_key=OUTSIDE_OF_RUNS,
        operation_name="embeddings",
        route=route,
    )


def _emit(row: UsageEvent, services: Services, run: Run | None) -> None:
    if run:
        run.emit(row)
    else:
        services.sink.emit(row)
