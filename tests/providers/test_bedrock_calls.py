"""Cancelling what boto3 waits for: the wait ends, the service hears of it, no thread stays."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.completion import Chunk, CompletionRequest
from core.errors import ProviderConnectionError, TruncatedStreamError
from core.message import user
from core.provider_settings import ProviderSettings
from providers.base import BaseProvider
from providers.factory import create_provider
from tests.fakes import wire_bedrock
from tests.fakes.credentials import credentials
from tests.fakes.http_wire import Connection, HttpRequest, Serve, serve_connections
from tests.fakes.kinds import provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest

MODEL = "global.anthropic.claude-sonnet-5-5"
ASKED = CompletionRequest(messages=(user("hello"),), timeout_seconds=20)
STUCK = CompletionRequest(messages=(user("get stuck"),), timeout_seconds=20)


def sticky(request: RecordedRequest) -> Answer | Fault:
    return Fault("hang") if request.last_text == "get stuck" else Answer(text="hello")


def threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("bedrock")}


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread or the other side does on its own."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came about")


async def test_a_cancelled_call_ends_at_the_service_and_in_its_thread(
    server: FakeModelServer,
) -> None:
    server.script = sticky
    provider = provider_of("bedrock", server)
    calls = [
        asyncio.ensure_future(provider.generate_completion(STUCK, model=MODEL)) for _ in range(5)
    ]
    await until(lambda: len(server.requests) == 5)
    for call in calls:
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in done)
    await until(lambda: all(r.outcome == "client_gone" for r in server.requests))
    answer = await provider.generate_completion(ASKED, model=MODEL)
    assert answer.text == "hello"
    before = threads()
    await provider.close()
    assert before
    assert not before & threads()


async def test_cutting_one_call_leaves_the_others_alone(server: FakeModelServer) -> None:
    server.script = sticky
    provider = provider_of("bedrock", server)
    for _ in range(10):
        stuck = asyncio.ensure_future(provider.generate_completion(STUCK, model=MODEL))
        others = [provider.generate_completion(ASKED, model=MODEL) for _ in range(3)]
        answers = await asyncio.gather(*others)
        stuck.cancel()
        assert [a.text for a in answers] == ["hello"] * 3
    await provider.close()


async def test_more_calls_than_threads_are_all_answered(server: FakeModelServer) -> None:
    provider = provider_of("bedrock", server)
    calls = (provider.generate_completion(ASKED, model=MODEL) for _ in range(100))
    answers = await asyncio.gather(*calls)
    assert len(threads()) <= 64
    await provider.close()
    assert [a.text for a in answers] == ["hello"] * 100


async def test_closing_ends_calls_that_still_wait(server: FakeModelServer) -> None:
    server.script = sticky
    provider = provider_of("bedrock", server)
    call = asyncio.ensure_future(provider.generate_completion(STUCK, model=MODEL))
    await until(lambda: len(server.requests) == 1)
    await provider.close()
    await provider.close()
    with pytest.raises(ProviderConnectionError):
        await call


class HalfStream:
    """Serves the beginning of a stream, and then nothing until the client goes away."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def serve(self, _: HttpRequest, connection: Connection) -> None:
        delta = {"contentBlockIndex": 0, "delta": {"text": "Well, "}}
        begun = wire_bedrock.event("contentBlockDelta", delta)
        connection.open_stream({}, kind=wire_bedrock.EVENT_STREAM)
        connection.write_chunks([begun])
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.gone.set()


@asynccontextmanager
async def provider_at(
    serve: Serve, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[BaseProvider]:
    async with serve_connections(serve, tls=tls) as port:
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        settings = ProviderSettings(kind="bedrock", base_url=url, region="us-east-1")
        provider = create_provider("bedrock", settings, credentials())
        yield provider
        await provider.close()


async def leave_after_the_first_piece(provider: BaseProvider) -> None:
    stream = provider.generate_stream(STUCK, model=MODEL)
    assert (await anext(stream)).text == "Well, "
    await stream.aclose()


async def test_a_stream_left_in_its_middle_ends_at_the_service() -> None:
    half = HalfStream()
    async with provider_at(half.serve) as provider:
        await leave_after_the_first_piece(provider)
        await asyncio.wait_for(half.gone.wait(), 10)
    assert threads() == set()


async def test_a_stream_is_whole_with_its_stop_and_not_before() -> None:
    def serve_until(last: str) -> Serve:
        delta = {"contentBlockIndex": 0, "delta": {"text": "Well."}}
        events = [("contentBlockDelta", delta), ("messageStop", {"stopReason": "end_turn"})]
        kept = events[: [kind for kind, _ in events].index(last) + 1]

        async def serve(_: HttpRequest, connection: Connection) -> None:
            connection.open_stream({}, kind=wire_bedrock.EVENT_STREAM)
            connection.write_chunks([wire_bedrock.event(kind, body) for kind, body in kept])
            connection.end_stream()

        return serve

    async with provider_at(serve_until("contentBlockDelta")) as provider:
        with pytest.raises(TruncatedStreamError):
            await read(provider)
    async with provider_at(serve_until("messageStop")) as provider:
        whole = (await read(provider))[-1].completion
    assert whole is not None
    assert (whole.text, whole.raw_usage) == ("Well.", {})


async def read(provider: BaseProvider) -> list[Chunk]:
    return [chunk async for chunk in provider.generate_stream(ASKED, model=MODEL)]


async def test_a_stream_over_tls_is_cut_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-token")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    half = HalfStream()
    seen: list[str] = []

    async def serve(request: HttpRequest, connection: Connection) -> None:
        seen.append(request.headers["authorization"])
        await half.serve(request, connection)

    async with provider_at(serve, tls=certified(tmp_path)) as provider:
        await leave_after_the_first_piece(provider)
        await asyncio.wait_for(half.gone.wait(), 10)
    assert seen == ["Bearer bedrock-token"]
    assert threads() == set()


def certified(folder: Path) -> ssl.SSLContext:
    """A server's context for 127.0.0.1, with a certificate of its own made in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(encoding))
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, pkcs8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
