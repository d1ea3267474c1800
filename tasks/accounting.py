"""How an answer fills a usage row."""

from __future__ import annotations

from uuid import uuid4

from core.completion import Completion
from core.embedding import Embeddings
from core.ports import FailedTry
from core.usage import UsageEvent


def with_answer(row: UsageEvent, completion: Completion) -> UsageEvent:
    """The row with who answered, what it took and what it cost."""
    usage = completion.usage
    return row.model_copy(
        update={
            "provider_name": completion.provider,
            "deployment": completion.deployment,
            "request_model": completion.deployment.partition(":")[2],
            "response_model": completion.model,
            "response_id": completion.request_id,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_write_input_tokens": usage.cache_write_tokens,
            "reasoning_output_tokens": usage.reasoning_tokens,
            "cost_usd": completion.cost_usd,
            "cost_source": completion.cost_source,
            "price_version": completion.price_version,
            "try_index": completion.try_index,
            "duration_seconds": completion.latency_seconds,
            "time_to_first_chunk_seconds": completion.time_to_first_token_seconds,
            "raw_usage": completion.raw_usage,
            "cache_hit": completion.cache_hit,
        }
    )


def with_vectors(row: UsageEvent, answer: Embeddings) -> UsageEvent:
    """The same for embeddings."""
    return row.model_copy(
        update={
            "operation_name": "embeddings",
            "provider_name": answer.provider,
            "deployment": answer.deployment,
            "request_model": answer.deployment.partition(":")[2],
            "response_model": answer.model,
            "response_id": answer.request_id,
            "input_tokens": answer.usage.input_tokens,
            "cost_usd": answer.cost_usd,
            "cost_source": answer.cost_source,
            "price_version": answer.price_version,
            "try_index": answer.try_index,
            "duration_seconds": answer.latency_seconds,
        }
    )


def with_failure(row: UsageEvent, failed: FailedTry, route: str) -> UsageEvent:
    """The row of a try that failed, or that was given up at a cost that is not known."""
    return row.model_copy(
        update={
            "event_id": uuid4().hex,
            "outcome": "interrupted" if failed.given_up else "error",
            "error_type": failed.error_type,
            "provider_name": failed.provider,
            "deployment": failed.deployment,
            "request_model": failed.model,
            "route": route,
            "duration_seconds": failed.duration_seconds,
            "try_index": failed.try_index,
        }
    )
