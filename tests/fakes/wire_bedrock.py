"""A scripted answer as Bedrock's Converse operations write it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedCall, ScriptedUsage

EVENT_STREAM = "application/vnd.amazon.eventstream"
_STOP = {
    "end": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "refusal": "content_filtered",
}
_ERROR_TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_EXCEPTIONS = {
    "overloaded_error": "serviceUnavailableException",
    "rate_limit_error": "throttlingException",
}
_STRING = 7


def render_body(request: RecordedRequest, answer: Answer) -> bytes:
    message = {"role": "assistant", "content": _content(request, answer)}
    whole = {
        "output": {"message": message},
        "stopReason": _STOP[answer.stop_reason],
        "usage": _usage(answer.usage),
        "metrics": {"latencyMs": 1},
    }
    return json.dumps(whole).encode()


def render_events(request: RecordedRequest, answer: Answer) -> list[bytes]:
    """The stream's events; ``messageStop`` is the last but one, before the usage."""
    events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(_content(request, answer)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            start = {k: v for k, v in block["toolUse"].items() if k != "input"}
            events.append(("contentBlockStart", {"start": {"toolUse": start}, **at}))
        events += [("contentBlockDelta", {"delta": delta, **at}) for delta in _deltas(block)]
        events.append(("contentBlockStop", at))
    events.append(("messageStop", {"stopReason": _STOP[answer.stop_reason]}))
    metadata = {"usage": _usage(answer.usage), "metrics": {"latencyMs": 1}}
    events.append(("metadata", metadata))
    return [event(kind, body) for kind, body in events]


def render_error(fault: Fault) -> dict[str, Any]:
    return {"message": fault.message}


def error_headers(fault: Fault) -> dict[str, str]:
    """boto3 tells errors apart by this header alone."""
    kind = fault.code or _ERROR_TYPES.get(fault.status)
    return {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/"} if kind else {}


def render_error_event(fault: Fault) -> bytes:
    kind = _EXCEPTIONS.get(fault.code or "", fault.code or "internalServerException")
    headers = {":message-type": "exception", ":exception-type": kind}
    return frame(headers, json.dumps(render_error(fault)).encode())


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of the AWS event stream.

    Big-endian: length of the message and of its headers, CRC32 of these, headers (name, type and
    value with their lengths), payload, CRC32 of everything before.
    """
    raw = b"".join(
        struct.pack(f"!B{len(name)}sBH", len(name), name.encode(), _STRING, len(value))
        + value.encode()
        for name, value in {**headers, ":content-type": "application/json"}.items()
    )
    prelude = struct.pack("!II", 16 + len(raw) + len(payload), len(raw))
    message = prelude + struct.pack("!I", crc32(prelude)) + raw + payload
    return message + struct.pack("!I", crc32(message))


def event(kind: str, body: dict[str, Any]) -> bytes:
    return frame({":message-type": "event", ":event-type": kind}, json.dumps(body).encode())


def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    if "text" in block:
        return [{"text": piece} for piece in _pieces(block["text"])]
    if "toolUse" in block:
        given = block["toolUse"]["input"]
        raw = given if isinstance(given, str) else json.dumps(given)
        return [{"toolUse": {"input": piece}} for piece in ["", *_pieces(raw)]]
    said = block["reasoningContent"]["reasoningText"]
    thinking = [{"reasoningContent": {"text": piece}} for piece in _pieces(said["text"])]
    return [*thinking, {"reasoningContent": {"signature": said["signature"]}}]


def _content(request: RecordedRequest, answer: Answer) -> list[dict[str, Any]]:
    said = {"text": answer.thinking, "signature": answer.signature}
    thinking = [{"reasoningContent": {"reasoningText": said}}] if answer.thinking else []
    text = [{"text": answer.text}] if answer.text else []
    calls = [
        {
            "toolUse": {
                "toolUseId": call.id or _call_id(request, answer, number),
                "name": call.name,
                "input": _input(call),
            }
        }
        for number, call in enumerate(answer.tool_calls)
    ]
    return [*thinking, *text, *calls]


def _call_id(request: RecordedRequest, answer: Answer, number: int) -> str:
    return "" if answer.without_ids else f"tooluse_{request.index}_{number}"


def _input(call: ScriptedCall) -> Any:
    return call.arguments if isinstance(call.arguments, str) else dict(call.arguments)


def _usage(usage: ScriptedUsage) -> dict[str, Any]:
    counted = usage.input - usage.cache_read - usage.cache_write
    return {
        "inputTokens": counted,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": usage.cache_write,
    }


def _pieces(text: str, size: int = 16) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]
