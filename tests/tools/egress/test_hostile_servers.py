"""What answers through the proxy, or under a name, may be anything."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from core.errors import EgressDeniedError, ToolFailedError
from core.tool_settings import EgressSettings
from tests.tools.egress.wire import Answer, target
from tools.egress.body import decode_text
from tools.egress.client import guarded_client
from tools.egress.fetch import Request, fetch
from tools.egress.policy import EgressPolicy
from tools.egress.proxy import EgressProxy


@asynccontextmanager
async def saying(answer: bytes) -> AsyncGenerator[str]:
    """A server that says ``answer`` to whatever comes, and then nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
    ],
)
async def test_what_is_no_answer_is_a_bad_gateway(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with saying(answer) as place:
        policy = EgressPolicy(EgressSettings(allow_hosts=(place,)))
        async with EgressProxy(policy, authenticate=False) as proxy:
            port = int(proxy.server.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET http://{place}/ HTTP/1.1\r\n\r\n".encode())
            told = await reader.read()
            writer.close()
            await writer.wait_closed()
    assert b"HTTP/1.1 502 Bad Gateway" in told
    assert told.count(b" 103 ") < 100
    assert not [entry for entry in caplog.records if entry.levelno >= logging.ERROR]


@pytest.mark.parametrize("form", ["203.1.112.7", "64:ff9b::203.1.112.7", "2002:cb01:7007::1"])
async def test_a_denied_address_is_denied_in_every_form_that_leads_to_it(form: str) -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        return [form]

    policy = EgressPolicy(EgressSettings(deny_hosts=("203.1.112.7",)), resolver=resolve)
    with pytest.raises(EgressDeniedError, match="deny_hosts"):
        await policy.resolve("a.test", 443)
    assert await EgressPolicy(resolver=resolve).resolve("a.test", 443)


async def test_of_very_many_addresses_all_are_checked_and_few_are_tried() -> None:
    many = [f"203.1.112.{number}" for number in range(250)]

    def resolve(host: str, port: int) -> Sequence[str]:
        return many if host == "many.test" else [*many, "127.0.0.1"]

    policy = EgressPolicy(resolver=resolve)
    assert len(await policy.resolve("many.test", 443)) == 10
    with pytest.raises(EgressDeniedError, match="not a public address"):
        await policy.resolve("hidden.test", 443)


@pytest.mark.parametrize(
    "charset", ["unicode_escape", "raw-unicode-escape", "punycode", "idna", "zlib", "a\0b"]
)
def test_a_page_cannot_choose_what_is_no_charset(charset: str) -> None:
    assert decode_text(rb"\x41 gr\xfc", f"text/html; charset={charset}") == r"\x41 gr\xfc"


async def test_a_request_with_a_key_is_not_sent_on() -> None:
    async with target() as other:
        pages = {"/": Answer(b"", 302, {"location": other.url})}
        async with target(pages) as server:
            policy = EgressPolicy(EgressSettings(allow_hosts=(server.place, other.place)))
            async with guarded_client(policy) as client:
                headers = {"X-API-KEY": "secret"}
                kept = await fetch(client, Request(server.url, headers=headers, redirects=False))
                led = await fetch(client, server.url)
    assert (kept.status, led.status) == (302, 200)
    assert [hit.headers.get("x-api-key") for hit in other.hits] == [None]


async def test_an_answer_that_unpacks_to_nothing_for_ever_ends_in_time() -> None:
    """Empty blocks of deflate: bytes keep coming, and none comes out."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n\r\n")
        try:
            while True:
                writer.write(b"\x00\x00\x00\xff\xff" * 1000)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        policy = EgressPolicy(EgressSettings(allow_hosts=(place,)))
        async with guarded_client(policy) as client:
            with pytest.raises(ToolFailedError, match="no whole answer"):
                await fetch(client, f"http://{place}/", timeout_seconds=0.3)
