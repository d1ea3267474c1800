"""A scripted answer as Anthropic's messages API writes it."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall, ScriptedUsage

_STOP = {"end": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "refusal": "refusal"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def render_body(request: RecordedRequest, answer: Answer) -> bytes:
    whole = _head(request, answer) | {
        "content": [*_thinking(answer), *_text(answer), *_calls(request, answer)],
        "stop_reason": _STOP[answer.stop_reason],
        "usage": _usage(answer.usage),
    }
    return json.dumps(whole).encode()


def render_events(request: RecordedRequest, answer: Answer) -> list[bytes]:
    """The stream's events; the last is ``message_stop``."""
    usage_so_far = _usage(answer.usage) | {"output_tokens": 1}
    head: dict[str, Any] = {**_head(request, answer), "content": [], "usage": usage_so_far}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for block in [*_thinking(answer), *_text(answer), *_calls(request, answer)]:
        events += _block_events(block, sum(e["type"] == "content_block_stop" for e in events))
    stop = {"stop_reason": _STOP[answer.stop_reason], "stop_sequence": None}
    usage = {"output_tokens": answer.usage.output}
    events.append({"type": "message_delta", "delta": stop, "usage": usage})
    events.append({"type": "message_stop"})
    return [_event(e) for e in events]


def render_error(fault: Fault) -> dict[str, Any]:
    kind = fault.code or _ERROR_TYPES.get(fault.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": fault.message}}


def render_error_event(fault: Fault) -> bytes:
    return _event(render_error(fault))


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _block_events(block: dict[str, Any], index: int) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = []
    start = dict(block)
    if block["type"] == "text":
        start["text"] = ""
        deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
    elif block["type"] == "thinking":
        start |= {"thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": p} for p in _pieces(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    elif block["type"] == "tool_use":
        raw = block["input"] if isinstance(block["input"], str) else json.dumps(block["input"])
        start["input"] = {}
        deltas = [{"type": "input_json_delta", "partial_json": p} for p in ["", *_pieces(raw)]]
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _head(request: RecordedRequest, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{request.index}",
        "type": "message",
        "role": "assistant",
        "model": answer.model or request.model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _thinking(answer: Answer) -> list[dict[str, Any]]:
    if not answer.thinking:
        return []
    block = {"type": "thinking", "thinking": answer.thinking, "signature": answer.signature}
    return [block]


def _text(answer: Answer) -> list[dict[str, Any]]:
    return [{"type": "text", "text": answer.text}] if answer.text else []


def _calls(request: RecordedRequest, answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "type": "tool_use",
            "id": call.id or ("" if answer.without_ids else f"toolu_{request.index}_{number}"),
            "name": call.name,
            "input": _input(call),
        }
        for number, call in enumerate(answer.tool_calls)
    ]


def _input(call: ScriptedCall) -> Any:
    return call.arguments if isinstance(call.arguments, str) else dict(call.arguments)


def _usage(usage: ScriptedUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input - usage.cache_read - usage.cache_write,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def _pieces(text: str, size: int = 16) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]
