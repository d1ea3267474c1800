"""Recorded HTTP exchanges served again, in pieces of an odd size."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.http_wire import Connection, HttpRequest, serve_connections

_PIECE_BYTES = 97


@dataclass(slots=True)
class ReplayServer:
    """Answers the n-th request with the n-th recorded response; ``requests`` are the bodies."""

    port: int
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@asynccontextmanager
async def replay(cassette: Path, *, path: str) -> AsyncGenerator[ReplayServer]:
    """Serves the interactions of a VCR cassette whose request goes to ``path``."""
    responses = recorded_responses(cassette, path=path)
    server = ReplayServer(0)

    async def serve(http: HttpRequest, connection: Connection) -> None:
        server.requests.append(json.loads(http.body))
        _send(responses[len(server.requests) - 1], connection)

    async with serve_connections(serve) as port:
        server.port = port
        yield server


def recorded_responses(cassette: Path, *, path: str) -> list[dict[str, Any]]:
    """The responses of the interactions that went to ``path``, not to some file's host."""
    text = cassette.read_text(encoding="utf-8")
    loaded: dict[str, list[dict[str, Any]]] = yaml.load(text, Loader=yaml.CSafeLoader)
    whole = loaded["interactions"]
    return [i["response"] for i in whole if i["request"]["uri"].split("?")[0].endswith(path)]


def _send(response: dict[str, Any], connection: Connection) -> None:
    kinds: list[str] = response["headers"].get("content-type", ["application/json"])
    status = int(response["status"]["code"])
    connection.open_stream(_stripped_headers(status), status=status, kind=kinds[0])
    data = _data(response)
    pieces = [data[i : i + _PIECE_BYTES] for i in range(0, len(data), _PIECE_BYTES)]
    for piece in pieces:
        connection.write_chunks([piece])
    connection.end_stream()


def _data(response: dict[str, Any]) -> bytes:
    body = response.get("parsed_body")
    if body is not None:
        return json.dumps(body).encode()
    recorded: str | bytes = response["body"]["string"]
    return recorded if isinstance(recorded, bytes) else recorded.encode()


def _stripped_headers(status: int) -> dict[str, str]:
    """The header by which AWS names an error, which the recordings lack; others ignore it."""
    return {"x-amzn-errortype": "ValidationException"} if status == 400 else {}
