"""A scripted answer as OpenAI chat completions writes it."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedUsage

_FINISH = {"end": "stop", "tool_calls": "tool_calls", "length": "length", "refusal": "stop"}


def render_body(request: RecordedRequest, answer: Answer) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.stop == "refusal":
        message |= {"content": None, "refusal": answer.text}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.tool_calls:
        message["tool_calls"] = _calls(request, answer)
    finish = _finish(answer)
    choice = {"index": 0, "message": message, "finish_reason": finish}
    whole = _head(request, answer, "chat.completion") | {
        "choices": [choice],
        "usage": _usage(answer.usage),
    }
    return json.dumps(whole).encode()


def render_events(request: RecordedRequest, answer: Answer) -> list[bytes]:
    """The stream's events; the last two are the usage and ``[DONE]``."""
    head = _head(request, answer, "chat.completion.chunk")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if answer.thinking:
        deltas.append({"reasoning_content": answer.thinking})
    kind = "refusal" if answer.stop == "refusal" else "content"
    deltas += [{kind: piece} for piece in _pieces(answer.text)]
    for index, call in enumerate(_calls(request, answer)):
        arguments = call["function"]["arguments"]
        opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [opening]})
        for piece in _pieces(arguments):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    events = [head | {"choices": [_choice(d, None)]} for d in deltas]
    if "api-version=" in request.path:
        # Azure tells first what its filter found in the prompt, before there is any choice.
        events.insert(0, head | {"model": "", "choices": [], "prompt_filter_results": []})
    events.append(head | {"choices": [_choice({}, _finish(answer))]})
    if request.body.get("stream_options", {}).get("include_usage"):
        events.append(head | {"choices": [], "usage": _usage(answer.usage)})
    return [*(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events), b"data: [DONE]\n\n"]


def render_error(fault: Fault) -> dict[str, Any]:
    kind = "server_error" if fault.status >= 500 else "invalid_request_error"
    return {
        "error": {"message": fault.message, "type": kind, "param": None, "code": fault.code},
    }


def render_error_event(fault: Fault) -> bytes:
    return b"data: " + json.dumps(render_error(fault)).encode() + b"\n\n"


def _head(request: RecordedRequest, answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.index}",
        "object": kind,
        "created": int(request.started_wall),
        "model": answer.model or request.model,
    }


def _finish(answer: Answer) -> str:
    """A filter that leaves nothing of the answer says so here; a refusal in words does not."""
    silenced = answer.stop == "refusal" and not answer.text
    return "content_filter" if silenced else _FINISH[answer.stop_reason]


def _choice(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _calls(request: RecordedRequest, answer: Answer) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for number, call in enumerate(answer.tool_calls):
        function = {"name": call.name, "arguments": call.raw_arguments}
        entry: dict[str, Any] = {"type": "function", "function": function}
        if not answer.without_ids:
            entry["id"] = call.id or f"call_{request.index}_{number}"
        calls.append(entry)
    return calls


def _usage(usage: ScriptedUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _pieces(text: str, size: int = 16) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]
