"""How an answer fills a usage row."""

from __future__ import annotations

from core.completion import Completion
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
            "duration_seconds": completion.latency_seconds,
            "time_to_first_chunk_seconds": completion.time_to_first_token_seconds,
            "raw_usage": completion.raw_usage,
        }
    )
