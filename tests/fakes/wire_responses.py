"""A scripted answer as OpenAI's Responses API writes it."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedUsage


def render_body(request: RecordedRequest, answer: Answer) -> bytes:
    return json.dumps(_whole(request, answer)).encode()


def render_events(request: RecordedRequest, answer: Answer) -> list[bytes]:
    """The stream's events; the last is ``response.completed`` or ``response.incomplete``."""
    whole = _whole(request, answer)
    begun: dict[str, Any] = {"status": "in_progress", "output": [], "usage": None}
    head = whole | begun
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": head},
        {"type": "response.in_progress", "response": head},
    ]
    for index, item in enumerate(whole["output"]):
        events += _item_events(item, index)
    events.append({"type": f"response.{whole['status']}", "response": whole})
    return [_event(e | {"sequence_number": number}) for number, e in enumerate(events)]


def render_error(fault: Fault) -> dict[str, Any]:
    kind = "server_error" if fault.status >= 500 else "invalid_request_error"
    return {
        "error": {"message": fault.message, "type": kind, "param": None, "code": fault.code},
    }


def render_error_event(fault: Fault) -> bytes:
    return _event({"type": "error", "code": fault.code, "message": fault.message, "param": None})


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _whole(request: RecordedRequest, answer: Answer) -> dict[str, Any]:
    cut = answer.stop == "length"
    silenced = answer.stop == "refusal" and not answer.text
    reason = "max_output_tokens" if cut else "content_filter"
    return {
        "id": f"resp_{request.index}",
        "object": "response",
        "created_at": int(request.started_wall),
        "status": "incomplete" if cut or silenced else "completed",
        "incomplete_details": {"reason": reason} if cut or silenced else None,
        "error": None,
        "model": answer.model or request.model,
        "output": [
            *_reasoning(request, answer),
            *_message(request, answer),
            *_calls(request, answer),
        ],
        "usage": _usage(answer.usage),
    }


def _reasoning(request: RecordedRequest, answer: Answer) -> list[dict[str, Any]]:
    if not answer.thinking:
        return []
    asked: list[str] = request.body.get("include") or []
    sealed = answer.signature if "reasoning.encrypted_content" in asked else None
    summary = [{"type": "summary_text", "text": answer.thinking}]
    item = {"type": "reasoning", "id": f"rs_{request.index}", "summary": summary}
    return [item | {"encrypted_content": sealed}]


def _message(request: RecordedRequest, answer: Answer) -> list[dict[str, Any]]:
    if not answer.text:
        return []
    content: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": []}
    if answer.stop == "refusal":
        content = {"type": "refusal", "refusal": answer.text}
    item = {"type": "message", "id": f"msg_{request.index}", "role": "assistant"}
    return [item | {"status": "completed", "content": [content]}]


def _calls(request: RecordedRequest, answer: Answer) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for number, call in enumerate(answer.tool_calls):
        item = {"type": "function_call", "id": f"fc_{request.index}_{number}", "name": call.name}
        item |= {"arguments": call.raw_arguments, "status": "completed"}
        if not answer.without_ids:
            item["call_id"] = call.id or f"call_{request.index}_{number}"
        calls.append(item)
    return calls


def _item_events(item: dict[str, Any], index: int) -> list[dict[str, Any]]:
    place = {"output_index": index, "item_id": item["id"]}
    kind, text = _streamed(item)
    deltas = [{"type": f"response.{kind}.delta", "delta": p, **place} for p in _pieces(text)]
    empty: dict[str, Any] = {"content": [], "arguments": "", "summary": []}
    opened = item | {"status": "in_progress"} | {k: v for k, v in empty.items() if k in item}
    if "encrypted_content" in item:
        opened["encrypted_content"] = "unfinished"
    return [
        {"type": "response.output_item.added", "output_index": index, "item": opened},
        *deltas,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _streamed(item: dict[str, Any]) -> tuple[str, str]:
    """What the deltas of an item are called, and the text that they bring."""
    if item["type"] == "reasoning":
        return "reasoning_summary_text", item["summary"][0]["text"]
    if item["type"] == "function_call":
        return "function_call_arguments", item["arguments"]
    content = item["content"][0]
    kind = "refusal" if content["type"] == "refusal" else "output_text"
    return kind, content.get("text") or content.get("refusal")


def _usage(usage: ScriptedUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def _pieces(text: str, size: int = 16) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]
