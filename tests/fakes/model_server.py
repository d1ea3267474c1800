"""A model server on loopback that says what a script tells it, over the providers' own protocols.

In a test: ``async with FakeModelServer(script) as server`` and point an SDK at
``server.openai_url`` or ``server.anthropic_url``; ``server.requests`` is what arrived.
As a process, for a client that is to be killed::

    python -m tests.fakes.model_server --script module:function --latency 0.3 --log requests.jsonl

It prints one JSON line with its port, appends a line per request when it arrives and when it ends,
and exits when its stdin closes.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from tests.fakes import (
    wire_anthropic,
    wire_bedrock,
    wire_embeddings,
    wire_google,
    wire_openai,
    wire_responses,
)
from tests.fakes.http_wire import Connection, HttpRequest, serve_connections
from tests.fakes.script import Answer, Fault, Outcome, Protocol, RecordedRequest, Script

_WIRES: dict[Protocol, ModuleType] = {
    "openai": wire_openai,
    "responses": wire_responses,
    "anthropic": wire_anthropic,
    "bedrock": wire_bedrock,
    "google": wire_google,
    "embeddings": wire_embeddings,
    "bedrock_embeddings": wire_embeddings,
}


class FakeModelServer:
    """Listens on 127.0.0.1 only; ``port`` 0 takes a free one."""

    def __init__(
        self,
        script: Script,
        *,
        latency_seconds: float = 0.0,
        log: Path | None = None,
        port: int = 0,
    ) -> None:
        self.script = script
        self.latency_seconds = latency_seconds
        self.requests: list[RecordedRequest] = []
        self.port = port
        self._log = log.open("a", encoding="utf-8") if log else None
        self._open = AsyncExitStack()

    @property
    def openai_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def azure_url(self) -> str:
        """An endpoint of Azure; the path after it is the SDK's to write."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def anthropic_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def google_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bedrock_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self.port = await self._open.enter_async_context(serve_connections(self._serve, self.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
        if self._log:
            self._log.close()

    async def _serve(self, http: HttpRequest, connection: Connection) -> None:
        request = self._arrive(http)
        outcome: Outcome = "client_gone"
        try:
            outcome = await self._reply(request, connection)
        finally:
            self._end(request, outcome)

    async def _reply(self, request: RecordedRequest, connection: Connection) -> Outcome:
        if request.protocol == "other":
            return _reply_other(request, connection)
        reply = self.script(request)
        wanted = reply.latency_seconds
        latency = self.latency_seconds if wanted is None else wanted
        if latency:
            await asyncio.sleep(latency)
        if isinstance(reply, Answer):
            _send_answer(request, reply, connection)
            return "answered"
        await _send_fault(request, reply, connection)
        return "fault"

    def _arrive(self, http: HttpRequest) -> RecordedRequest:
        request = RecordedRequest(
            index=len(self.requests),
            protocol=_protocol(http.path),
            method=http.method,
            path=http.path,
            headers=http.headers,
            body=json.loads(http.body) if http.body else {},
            started_monotonic=time.monotonic(),
            started_wall=time.time(),
        )
        self.requests.append(request)
        self._write_log("arrived", request, body=request.body, path=request.path)
        return request

    def _end(self, request: RecordedRequest, outcome: Outcome) -> None:
        request.outcome = outcome
        request.ended_monotonic, request.ended_wall = time.monotonic(), time.time()
        self._write_log("ended", request, outcome=outcome)

    def _write_log(self, event: str, request: RecordedRequest, **details: Any) -> None:
        if self._log is None or self._log.closed:
            return
        times = {"monotonic": time.monotonic(), "wall": time.time()}
        line = {"event": event, "index": request.index, "protocol": request.protocol} | times
        self._log.write(json.dumps(line | details) + "\n")
        self._log.flush()


def _protocol(path: str) -> Protocol:
    place = path.split("?")[0]
    if place.endswith("/chat/completions"):
        return "openai"
    if place.endswith("/embeddings"):
        return "embeddings"
    if place.endswith("/invoke"):
        return "bedrock_embeddings"
    if place.endswith("/v1/responses"):
        return "responses"
    if place.endswith(("/converse", "/converse-stream")):
        return "bedrock"
    if place.endswith((":generateContent", ":streamGenerateContent", ":batchEmbedContents")):
        return "google"
    return "anthropic" if place == "/v1/messages" else "other"


def _reply_other(request: RecordedRequest, connection: Connection) -> Outcome:
    """Listing models and counting tokens, which a script need not know of."""
    place = request.path.split("?")[0]
    if place.endswith("/models"):
        body: dict[str, Any] = {"object": "list", "data": [], "has_more": False}
    elif place.endswith(("/count_tokens", "/input_tokens")):
        body = {"input_tokens": len(request.text) // 4}
    elif place.endswith(":countTokens"):
        body = {"totalTokens": len(request.text) // 4}
    elif place.endswith("/count-tokens"):
        body = {"inputTokens": len(request.text) // 4}
    else:
        connection.write_whole(404, {"content-type": "application/json"}, b'{"error":{}}')
        return "fault"
    connection.write_whole(200, {"content-type": "application/json"}, json.dumps(body).encode())
    return "answered"


def _send_answer(request: RecordedRequest, answer: Answer, connection: Connection) -> None:
    wire = _WIRES[request.protocol]
    if request.streamed:
        connection.open_stream(_headers(request), kind=_stream_kind(request))
        connection.write_chunks(wire.render_events(request, answer))
        connection.end_stream()
        return
    headers = {"content-type": "application/json", **_headers(request)}
    if request.protocol == "bedrock_embeddings":
        headers["x-amzn-bedrock-input-token-count"] = str(answer.usage.input)
    connection.write_whole(200, headers, wire.render_body(request, answer))


async def _send_fault(request: RecordedRequest, fault: Fault, connection: Connection) -> None:
    wire = _WIRES[request.protocol]
    if fault.kind == "hang":
        await asyncio.get_running_loop().create_future()
    elif fault.kind == "cut_before":
        await connection.reset()
    elif fault.kind == "invalid_json":
        headers = {"content-type": "application/json", **_headers(request)}
        connection.write_whole(200, headers, b'{"choices": [{"mess')
    elif fault.kind == "status":
        body = wire.render_error(fault) if fault.body is None else fault.body
        raw = body if isinstance(body, str) else json.dumps(body)
        headers = {"content-type": "application/json", **_headers(request), **fault.headers}
        if request.protocol.startswith("bedrock"):
            headers |= wire_bedrock.error_headers(fault)
        connection.write_whole(fault.status, headers, raw.encode())
    else:
        await _send_broken_answer(request, fault, connection)


async def _send_broken_answer(
    request: RecordedRequest, fault: Fault, connection: Connection
) -> None:
    wire = _WIRES[request.protocol]
    answer = Answer(text="this answer is never finished, " * 4)
    if not request.streamed:
        connection.write_cut(wire.render_body(request, answer))
        await connection.reset()
        return
    events: list[bytes] = wire.render_events(request, answer)
    connection.open_stream(_headers(request), kind=_stream_kind(request))
    connection.write_chunks(events[: len(events) // 2])
    if fault.kind == "cut_midway":
        await connection.reset()
        return
    if fault.kind == "stream_error":
        connection.write_chunks([wire.render_error_event(fault)])
    connection.end_stream()


def _headers(request: RecordedRequest) -> dict[str, str]:
    value = f"req_{request.index}"
    return {"x-request-id": value, "request-id": value, "x-amzn-requestid": value}


def _stream_kind(request: RecordedRequest) -> str:
    return wire_bedrock.EVENT_STREAM if request.protocol == "bedrock" else "text/event-stream"


async def _run_until_stdin_closes(server: FakeModelServer) -> None:
    async with server:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.read(1024):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", required=True, help="module:function")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    module, _, function = options.script.partition(":")
    script: Script = getattr(importlib.import_module(module), function)
    server = FakeModelServer(
        script, latency_seconds=options.latency, log=options.log, port=options.port
    )
    asyncio.run(_run_until_stdin_closes(server))


if __name__ == "__main__":
    main()
