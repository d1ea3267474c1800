"""A scripted answer as Gemini's own API writes it."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedUsage
from tests.fakes.wire_embeddings import vector_of

_FINISH = {"end": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_IN_STREAM = {
    "rate_limit_error": (429, "RESOURCE_EXHAUSTED"),
    "overloaded_error": (503, "UNAVAILABLE"),
}


def render_body(request: RecordedRequest, answer: Answer) -> bytes:
    if request.path.endswith(":batchEmbedContents"):
        return _vectors(request.body["requests"])
    parts = [*_thinking(answer), *_text(answer.text), *_calls(answer)]
    return json.dumps(_event(request, answer, parts, last=True)).encode()


def render_events(request: RecordedRequest, answer: Answer) -> list[bytes]:
    """The stream's events; the last has the finish reason and, in an empty text, a signature."""
    pieces = [answer.text[i : i + 16] for i in range(0, len(answer.text), 16)]
    parts = [*_thinking(answer), *(p for piece in pieces for p in _text(piece)), *_calls(answer)]
    events = [_event(request, answer, [part], last=False) for part in parts]
    end: dict[str, Any] = {"text": ""}
    if answer.thinking and not answer.tool_calls:
        end["thoughtSignature"] = answer.signature
    events.append(_event(request, answer, [end], last=True))
    return [_sse(event) for event in events]


def render_error(fault: Fault) -> dict[str, Any]:
    word = _WORDS.get(fault.status, "UNKNOWN")
    error: dict[str, Any] = {"code": fault.status, "message": fault.message, "status": word}
    if fault.code:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": fault.code}]
    return {"error": error}


def render_error_event(fault: Fault) -> bytes:
    code, word = _IN_STREAM.get(fault.code or "", (500, "INTERNAL"))
    return _sse({"error": {"code": code, "message": fault.message, "status": word}})


def _event(
    request: RecordedRequest, answer: Answer, parts: list[dict[str, Any]], *, last: bool
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = _FINISH[answer.stop_reason]
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(answer.usage, whole=last),
        "modelVersion": answer.model or request.model,
        "responseId": f"req_{request.index}",
    }


def _sse(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\r\n\r\n"


def _thinking(answer: Answer) -> list[dict[str, Any]]:
    return [{"text": answer.thinking, "thought": True}] if answer.thinking else []


def _text(text: str) -> list[dict[str, Any]]:
    return [{"text": text}] if text else []


def _calls(answer: Answer) -> list[dict[str, Any]]:
    """Without ids, as the service leaves them out; only the first call of a turn is signed."""
    parts: list[dict[str, Any]] = []
    for call in answer.tool_calls:
        raw = call.raw_arguments
        arguments = json.loads(raw) if isinstance(call.arguments, dict) else raw
        wire: dict[str, Any] = {"name": call.name, "args": arguments}
        if call.id:
            wire["id"] = call.id
        part: dict[str, Any] = {"functionCall": wire}
        if answer.thinking and not parts:
            part["thoughtSignature"] = answer.signature
        parts.append(part)
    return parts


def _usage(usage: ScriptedUsage, *, whole: bool) -> dict[str, int]:
    counts = {"promptTokenCount": usage.input, "cachedContentTokenCount": usage.cache_read}
    if whole:
        counts["candidatesTokenCount"] = usage.output - usage.reasoning
        counts["thoughtsTokenCount"] = usage.reasoning
        counts["totalTokenCount"] = usage.input + usage.output
    return counts


def _vectors(requests: list[dict[str, Any]]) -> bytes:
    found = [
        {
            "values": vector_of(
                one["content"]["parts"][0]["text"], one.get("outputDimensionality", 8)
            )
        }
        for one in requests
    ]
    return json.dumps({"embeddings": found}).encode()
