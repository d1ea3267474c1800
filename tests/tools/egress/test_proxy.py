import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidProxyStatus

from core.tool_settings import EgressSettings
from tests.fakes.http_wire import HttpRequest
from tests.tools.egress.wire import Answer, Target, target
from tools.egress.policy import EgressPolicy
from tools.egress.proxy import EgressProxy, ProxyLimits
from tools.egress.upstream import Upstream


def allowing(*places: str) -> EgressPolicy:
    return EgressPolicy(EgressSettings(allow_hosts=places))


@asynccontextmanager
async def browser(proxy: EgressProxy) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with no guard of its own."""
    async with httpx.AsyncClient(proxy=proxy.url, trust_env=False, follow_redirects=True) as client:
        yield client


async def raw(proxy: EgressProxy, request: bytes) -> bytes:
    port = int(proxy.server.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_plain_http_goes_through_to_allowed_hosts_only() -> None:
    async with (
        target() as server,
        target() as secret,
        EgressProxy(allowing(server.place)) as proxy,
        browser(proxy) as client,
    ):
        assert (await client.get(server.url)).text == "hello"
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1"):
            refused = await client.get(f"http://{host}:{secret.port}/")
            assert (refused.status_code, "Egress:" in refused.text) == (403, True), refused.text
    assert secret.hits == []
    request = server.hits[0]
    assert (request.path, request.headers["host"]) == ("/", server.place)
    assert not [name for name in request.headers if name.startswith("proxy")]


async def test_a_redirect_inside_is_refused() -> None:
    async with target() as secret:
        pages = {"/a": Answer(b"", 302, {"location": secret.url})}
        async with (
            target(pages) as server,
            EgressProxy(allowing(server.place)) as proxy,
            browser(proxy) as client,
        ):
            assert (await client.get(f"{server.url}/a")).status_code == 403
    assert secret.hits == []


async def test_a_name_is_resolved_once_and_its_address_is_the_one_connected_to() -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1" if len(asked) == 1 else "10.0.0.1"]

    async with target() as server:
        policy = EgressPolicy(EgressSettings(allow_hosts=(server.place,)), resolver=rebinding)
        async with EgressProxy(policy) as proxy, browser(proxy) as client:
            assert (await client.get(f"http://moving.test:{server.port}/")).text == "hello"
            assert asked == ["moving.test"]
            assert (await client.get(f"http://moving.test:{server.port}/")).status_code == 403
    assert len(server.hits) == 1


async def test_only_who_knows_the_password_is_served() -> None:
    async with target() as server, EgressProxy(allowing(server.place)) as proxy:
        assert proxy.password not in proxy.server
        for url in (proxy.server, proxy.url.replace(proxy.password, "guess")):
            async with httpx.AsyncClient(proxy=url, trust_env=False) as client:
                assert (await client.get(server.url)).status_code == 407
        answer = await raw(proxy, f"CONNECT {server.place} HTTP/1.1\r\n\r\n".encode())
        assert b'Proxy-Authenticate: Basic realm="egress"' in answer
    assert server.hits == []


async def test_a_connection_serves_one_host_only() -> None:
    """A client told to keep it could send the next request for another host through it."""
    async with target() as server, EgressProxy(allowing(server.place)) as proxy:
        one = httpx.Request("GET", server.url, headers={"Host": "other.test"})
        async with browser(proxy) as client:
            answer = await client.send(one)
    assert (answer.text, answer.headers["connection"]) == ("hello", "close")
    assert server.hits[0].headers["host"] == server.place


async def test_large_bodies_pass_whole_in_both_directions() -> None:
    def size(request: HttpRequest) -> Answer:
        return Answer(b"x" * 3_000_000, headers={"x-size": str(len(request.body))})

    async with (
        target({"/large": size}) as server,
        EgressProxy(allowing(server.place)) as proxy,
        browser(proxy) as client,
    ):
        answer = await client.post(f"{server.url}/large", content=b"y" * 2_000_000)
    assert answer.headers["x-size"] == "2000000"
    assert len(answer.content) == 3_000_000


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_websockets_go_through_to_allowed_hosts_only() -> None:
    async with serve(echo, "127.0.0.1", 0) as server, target() as secret:
        port = next(iter(server.sockets)).getsockname()[1]
        async with EgressProxy(allowing(f"127.0.0.1:{port}")) as proxy:
            async with connect(f"ws://127.0.0.1:{port}/", proxy=proxy.url) as socket_:
                await socket_.send("ping")
                assert await socket_.recv() == "ping"
            with pytest.raises(InvalidProxyStatus):
                await connect(f"ws://127.0.0.1:{secret.port}/", proxy=proxy.url)
    assert secret.hits == []


async def test_an_upgrade_in_absolute_form_goes_through() -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        policy = allowing(f"127.0.0.1:{port}")
        async with EgressProxy(policy, authenticate=False) as proxy:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", int(proxy.server.rpartition(":")[2])
            )
            writer.write(
                f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101")
            writer.write(b"\x81\x82\0\0\0\0hi")  # a masked text frame
            assert await reader.readexactly(4) == b"\x81\x02hi"
            writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET file:///etc/passwd HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n",
        b"CONNECT a@127.0.0.1:80 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.1:99999 HTTP/1.1\r\n\r\n",
        b"CONNECT [::1]:80 HTTP/1.1\r\n\r\n",
        b"CONNECT localhost:22 HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET http://8.8.8.8/ HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"GET http://8.8.8.8/ HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET http://8.8.8.8/ HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_for_somewhere_public_is_refused(request_: bytes) -> None:
    async with EgressProxy(EgressPolicy(), authenticate=False) as proxy:
        answer = await raw(proxy, request_)
    status = int(answer.split(b" ")[1])
    assert status in (400, 403, 502)


async def test_a_closed_port_is_a_bad_gateway() -> None:
    async with target() as server:
        policy = allowing(server.place)
    async with EgressProxy(policy) as proxy, browser(proxy) as client:
        assert (await client.get(server.url)).status_code == 502


async def test_connections_are_bounded_in_number_and_in_silence() -> None:
    limits = ProxyLimits(max_connections=1, idle_seconds=0.2)
    async with serve(echo, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with EgressProxy(allowing(place), authenticate=False, limits=limits) as proxy:
            connect_ = f"CONNECT {place} HTTP/1.1\r\n\r\n".encode()
            port = int(proxy.server.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(connect_)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert (await raw(proxy, connect_)).startswith(b"HTTP/1.1 503")
            assert await reader.read() == b"\r\n"  # ended, as nothing was said
            writer.close()


async def test_an_upstream_proxy_carries_what_was_checked() -> None:
    """The upstream is a second proxy of this kind, with a password of its own."""
    async with target() as server, EgressProxy(allowing(server.place)) as upstream:
        policy = allowing(server.place)
        outer = EgressProxy(policy, Upstream.parse(upstream.url))
        async with outer as proxy, browser(proxy) as client:
            assert (await client.get(server.url)).text == "hello"
            assert (await client.get("http://127.0.0.1:1/")).status_code == 403
        wrong = Upstream.parse(upstream.server)
        async with EgressProxy(policy, wrong) as proxy, browser(proxy) as client:
            refused = await client.get(server.url)
            assert (refused.status_code, "answered 407" in refused.text) == (502, True)


async def test_the_library_behind_the_last_resort_stays_inside() -> None:
    """primp has a client of its own, which only a proxy can guard."""
    import primp

    def ask(proxy: str, server: Target) -> int:
        return primp.Client(proxy=proxy, timeout=10).get(server.url).status_code

    async with target() as server, target() as secret, EgressProxy(allowing(server.place)) as proxy:
        assert await asyncio.to_thread(ask, proxy.url, server) == 200
        assert await asyncio.to_thread(ask, proxy.url, secret) == 403
    assert (len(server.hits), secret.hits) == (1, [])
