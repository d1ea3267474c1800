import gzip
import zlib
from collections.abc import Sequence

import pytest

from core.errors import EgressDeniedError, ToolFailedError
from core.tool_settings import EgressSettings
from tests.fakes.http_wire import HttpRequest
from tests.tools.egress.wire import Answer, Target, target
from tools.egress.client import guarded_client
from tools.egress.fetch import Page, Request, fetch
from tools.egress.policy import EgressPolicy


def allowing(*targets: Target, **settings: object) -> EgressPolicy:
    allowed = [server.place for server in targets]
    return EgressPolicy(EgressSettings.model_validate({"allow_hosts": allowed, **settings}))


async def get(policy: EgressPolicy, request: str | Request, max_bytes: int = 10_000) -> Page:
    async with guarded_client(policy) as client:
        return await fetch(client, request, max_bytes)


async def test_an_allowed_host_answers() -> None:
    async with target() as server:
        page = await get(allowing(server), server.url)
    assert (page.status, page.text, page.url) == (200, "hello", server.url)
    assert server.paths == ["/"]


async def test_what_is_not_allowed_is_not_even_connected_to() -> None:
    async with target() as server:
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(EgressDeniedError):
                await get(EgressPolicy(), f"http://{host}:{server.port}/")
    assert server.hits == []


async def test_a_redirect_inside_is_not_followed() -> None:
    async with target() as secret:
        leads = {"/a": Answer(b"", 302, {"location": f"{secret.url}/secret"})}
        async with target(leads) as outside:
            with pytest.raises(EgressDeniedError, match=str(secret.port)):
                await get(allowing(outside), f"{outside.url}/a")
            for scheme in ("file:///etc/passwd", "gopher://127.0.0.1/"):
                outside.pages = {"/a": Answer(b"", 302, {"location": scheme})}
                with pytest.raises((EgressDeniedError, ToolFailedError)):
                    await get(allowing(outside), f"{outside.url}/a")
    assert secret.hits == []


async def test_a_name_that_resolves_inside_is_refused() -> None:
    async with target() as secret:
        policy = EgressPolicy(
            EgressSettings(ports=(80, secret.port)), resolver=lambda host, port: ["127.0.0.1"]
        )
        with pytest.raises(EgressDeniedError, match=r"evil\.test \(127\.0\.0\.1\)"):
            await get(policy, f"http://evil.test:{secret.port}/")
    assert secret.hits == []


async def test_a_name_server_that_changes_its_mind_is_asked_once() -> None:
    """The first answer is allowed and connected to; the second would be another place."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1" if len(asked) == 1 else "169.254.169.254"]

    async with target() as server:
        policy = EgressPolicy(EgressSettings(allow_hosts=(server.place,)), resolver=rebinding)
        page = await get(policy, f"http://moving.test:{server.port}/")
    assert (page.text, asked) == ("hello", ["moving.test"])
    assert server.hits[0].headers["host"] == f"moving.test:{server.port}"


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with target() as server, target() as other:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("ALL_PROXY", other.url)
        assert (await get(allowing(server), server.url)).text == "hello"
    assert other.hits == []


async def test_large_bodies_and_decompression_bombs_are_cut() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < 60_000
    pages = {
        "/large": Answer(b"x" * 20_000),
        "/bomb": Answer(bomb, headers={"content-encoding": "gzip"}),
        "/fits": Answer(b"x" * 10_000),
    }
    async with target(pages) as server:
        for path, cut in (("/large", True), ("/bomb", True), ("/fits", False)):
            page = await get(allowing(server), server.url + path)
            assert (len(page.body), page.truncated) == (10_000, cut)


async def test_compressed_bodies_are_read_and_damaged_ones_are_not() -> None:
    deflated = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    pages = {
        "/gzip": Answer(gzip.compress(b"text"), headers={"content-encoding": "gzip"}),
        "/zlib": Answer(zlib.compress(b"text"), headers={"content-encoding": "deflate"}),
        "/raw": Answer(
            deflated.compress(b"text") + deflated.flush(), headers={"content-encoding": "deflate"}
        ),
        "/damaged": Answer(b"not gzip", headers={"content-encoding": "gzip"}),
        "/unasked": Answer(b"?", headers={"content-encoding": "br"}),
    }
    async with target(pages) as server:
        for path in ("/gzip", "/zlib", "/raw"):
            assert (await get(allowing(server), server.url + path)).text == "text"
        for path in ("/damaged", "/unasked"):
            with pytest.raises(ToolFailedError):
                await get(allowing(server), server.url + path)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("grüße".encode(), "text/html"),
        ("grüße".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        ('<meta charset="windows-1252">grüße'.encode("cp1252"), "text/html"),
        ("grüße".encode("utf-16"), "text/plain"),
        ("\ufeffgrüße".encode(), "text/html; charset=utf-8"),
        ("grüße".encode(), "text/html; charset=no-such-charset"),
    ],
)
async def test_text_is_decoded_by_what_the_page_says(body: bytes, kind: str) -> None:
    async with target({"/": Answer(body, headers={"content-type": kind})}) as server:
        page = await get(allowing(server), server.url)
    assert page.text.endswith("grüße")


async def test_chinese_pages_are_read_in_their_charset() -> None:
    body = "镕基".encode("gb18030")  # the first is not in GB 2312, whose name such pages bear
    answer = Answer(body, headers={"content-type": "text/html; charset=gb2312"})
    async with target({"/": answer}) as server:
        assert (await get(allowing(server), server.url)).text == "镕基"


async def test_a_server_that_is_not_there_may_be_there_later() -> None:
    async with target() as server:
        policy = allowing(server)
    with pytest.raises(ToolFailedError) as caught:
        await get(policy, f"{server.url}/?key=secret")
    assert caught.value.details["retryable"]
    assert "secret" not in str(caught.value)


async def test_redirects_without_end_are_given_up() -> None:
    async with target({"/": Answer(b"", 302, {"location": "/"})}) as server:
        with pytest.raises(ToolFailedError, match="redirects"):
            await get(allowing(server), server.url)


async def test_the_upstream_proxy_is_asked_for_the_address_that_was_checked() -> None:
    """It is no web server: what it is asked for shows in what it was sent."""
    async with target() as upstream:
        policy = EgressPolicy(
            EgressSettings.model_validate({"upstream_proxy": f"http://u:p@{upstream.place}"}),
            resolver=lambda host, port: ["93.184.215.14"],
        )
        with pytest.raises(ToolFailedError, match="upstream proxy answered 404"):
            await get(policy, "http://a.test/")
        with pytest.raises(EgressDeniedError):
            await get(policy, "http://a.test:22/")
    asked = [(hit.method, hit.path, hit.headers["proxy-authorization"]) for hit in upstream.hits]
    assert asked == [("CONNECT", "93.184.215.14:80", "Basic dTpw")]


async def test_forms_and_headers_are_sent() -> None:
    def echo(request: HttpRequest) -> Answer:
        return Answer(request.body + request.headers["x-a"].encode())

    async with target({"/": echo}) as server:
        request = Request(server.url, "POST", headers={"X-A": "1"}, form={"q": "a b"})
        assert (await get(allowing(server), request)).text == "q=a+b1"
