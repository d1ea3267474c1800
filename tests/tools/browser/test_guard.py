"""Nothing that a page does reaches a place that the egress policy forbids."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from tests.fakes.web_pages import ForbiddenPort, WebPages
from tests.tools.browser.conftest import Browsing
from tools.browser.launch import BROWSER_UID

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def forbidden() -> Iterator[ForbiddenPort]:
    with ForbiddenPort() as port:
        yield port


async def test_the_port_counts_who_comes(forbidden: ForbiddenPort) -> None:
    """Else the tests below could not fail."""
    _, writer = await asyncio.open_connection(*forbidden.host.split(":"))
    writer.close()
    for _ in range(100):
        if forbidden.connections:
            break
        await asyncio.sleep(0.05)
    assert forbidden.connections == 1


async def test_a_page_reaches_a_forbidden_port_in_no_way(
    browsing: Browsing, forbidden: ForbiddenPort, pages: WebPages
) -> None:
    bad = forbidden.host
    redirect = pages.redirect("/away", f"http://{bad}/redirected")
    pages.serve("/reached", "<title>Reached</title>")
    await browsing.show(
        f"""<button>x</button><img src=http://{bad}/img><img src={redirect}>
        <iframe src=http://{bad}/iframe></iframe><iframe src={redirect}></iframe>
        <link rel=preconnect href=http://{bad}><link rel=prefetch href=http://{bad}/p>
        <link rel=stylesheet href=http://{bad}/css>
        <object data=http://{bad}/object></object>
        <script>
        const tried = [];
        const note = (p) => tried.push(p.catch(() => null));
        note(fetch('http://{bad}/fetch', {{mode: 'no-cors'}}));
        note(fetch('http://localhost:{bad.split(":")[1]}/name', {{mode: 'no-cors'}}));
        note(fetch('{redirect}', {{mode: 'no-cors'}}));
        navigator.sendBeacon('http://{bad}/beacon', 'x');
        note(new Promise((done) => {{
          const socket = new WebSocket('ws://{bad}/ws');
          socket.onerror = socket.onclose = done;
        }}));
        note(new Promise((done) => {{
          const events = new EventSource('http://{bad}/events');
          events.onerror = () => {{ events.close(); done(); }};
        }}));
        const peer = new RTCPeerConnection({{iceServers: [{{urls: 'stun:{bad}'}},
          {{urls: 'turn:{bad}?transport=tcp', username: 'u', credential: 'c'}}]}});
        peer.createDataChannel('x');
        peer.createOffer().then((o) => peer.setLocalDescription(o));
        Promise.all(tried).then(() => document.title = 'All tried');
        </script>"""
    )
    for _ in range(20):
        if "Page: All tried" in browsing.state:
            break
        await browsing.do("wait", seconds=1)
    assert "Page: All tried" in browsing.state
    assert forbidden.connections == 0


async def test_a_redirect_of_the_page_itself_is_refused_with_the_reason(
    browsing: Browsing, forbidden: ForbiddenPort, pages: WebPages
) -> None:
    away = pages.redirect("/away", f"http://{forbidden.host}/")
    refused = await browsing.call("go_to_url", url=away)
    assert refused.error is not None
    assert "is not in [egress] ports" in refused.error
    assert forbidden.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "view-source:http://127.0.0.1/",
        "chrome://version",
        "javascript:alert(1)",
        "data:text/html,<h1>x</h1>",
        "ftp://127.0.0.1/",
        "blob:http://127.0.0.1/x",
    ],
)
@pytest.mark.parametrize("action", ["go_to_url", "open_tab"])
async def test_addresses_that_are_not_the_web_are_refused(
    browsing: Browsing, action: str, url: str
) -> None:
    refused = await browsing.call(action, url=url)
    assert refused.error is not None
    assert "cannot be opened; only http, https" in refused.error


async def test_a_forbidden_address_is_refused_before_it_is_opened(
    browsing: Browsing, forbidden: ForbiddenPort
) -> None:
    refused = await browsing.call("go_to_url", url=f"http://{forbidden.host}/")
    assert refused.error is not None
    assert "[egress]" in refused.error
    assert forbidden.connections == 0


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "view-source:file:///etc/passwd", "chrome://version"]
)
async def test_a_page_cannot_lead_to_what_is_not_the_web(browsing: Browsing, target: str) -> None:
    await browsing.show(
        f"<title>Stays</title><a href='{target}'>Go</a><iframe src='{target}'></iframe>"
        f"<script>onclick = () => {{ window.open('{target}'); location = '{target}'; }}</script>"
    )
    await browsing.call("click_element", index=browsing.index('"Go"'))
    await browsing.call("extract_content", goal="x")
    assert "root:" not in browsing.last.text
    assert "passwd" not in browsing.state.replace(target, "")


async def test_chromium_is_another_user_and_knows_none_of_our_variables(
    browsing: Browsing,
) -> None:
    browser = (await browsing.page()).context.browser
    assert browser
    session = await browser.new_browser_cdp_session()
    told = await session.send("SystemInfo.getProcessInfo")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    processes = TypeAdapter(list[_Process]).validate_python(told["processInfo"])
    process = Path("/proc") / str(next(p.id for p in processes if p.type == "browser"))
    if not process.exists():
        pytest.skip("no /proc to look at Chromium in")
    variables = {entry.partition(b"=")[0] for entry in _read(process / "environ")}
    assert b"HOME" in variables
    assert b"PYTEST_CURRENT_TEST" in {name.encode() for name in os.environ}
    assert b"PYTEST_CURRENT_TEST" not in variables
    if os.geteuid() == 0 and shutil.which("setpriv"):
        assert process.stat().st_uid == BROWSER_UID


class _Process(BaseModel):
    id: int
    type: str


def _read(path: Path) -> list[bytes]:
    return [entry for entry in path.read_bytes().split(b"\0") if entry]
