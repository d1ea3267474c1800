"""Dialogs, popups, downloads, crashes, and a new browser that goes on from an old one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.settings import load_settings
from core.tool_settings import BrowserSettings
from tests.fakes.web_pages import WebPages
from tests.tools.browser.conftest import QUICK, Begin, Browsing, send_fatal
from tools.base import ToolResult
from tools.browser.downloads import safe_name

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(("policy", "answer"), [("dismiss", "false"), ("accept", "true")])
async def test_dialogs_are_answered_and_told(begin: Begin, policy: str, answer: str) -> None:
    browsing = begin(QUICK.model_validate({**QUICK.model_dump(), "confirm_dialogs": policy}))
    await browsing.show(
        "<button onclick=\"alert('Hello'); this.textContent = confirm('Sure?')\">Ask</button>"
    )
    state = await browsing.do("click_element", index=browsing.index('"Ask"'))
    assert "Note: alert dialog, accepted: Hello" in state
    assert f"Note: confirm dialog, {policy.removesuffix('s')}" in state
    assert f'"{answer}"' in state
    assert "Hello" not in await browsing.do("wait", seconds=0)


async def test_a_popup_becomes_the_active_tab(browsing: Browsing, pages: WebPages) -> None:
    pages.serve("/popup", "<title>Popup</title>")
    await browsing.show("<title>Opener</title><a target=_blank href=/popup>Open</a>")
    await browsing.do("click_element", index=browsing.index('"Open"'))
    await browsing.until("Page: Popup")
    assert "Page: Opener" in await browsing.do("close_tab")


async def test_a_download_is_saved_in_the_workspace_under_a_safe_name(
    browsing: Browsing, pages: WebPages
) -> None:
    pages.serve(
        "/file",
        b"data" * 100,
        content_type="application/octet-stream",
        content_disposition='attachment; filename="../../.ssh/re port;x.csv"',
    )
    await browsing.show("<a href=/file>Get</a>")
    await browsing.do("click_element", index=browsing.index('"Get"'))
    await browsing.until("Note: downloaded downloads/")
    ((path, content),) = browsing.files.items()
    assert path.startswith("downloads/")
    assert path.endswith(".csv")
    assert ";" not in path
    assert ".." not in path
    assert content == b"data" * 100
    await browsing.call("go_to_url", url=f"http://{pages.host}/file")
    assert browsing.last.output.endswith("is a file to download")
    await browsing.until("-1.csv (400 bytes)")


async def test_a_download_above_the_bound_is_not_kept(browsing: Browsing, pages: WebPages) -> None:
    pages.serve("/big", b"x" * 1_100_000, content_type="application/octet-stream")
    await browsing.show("<a href=/big download=big.bin>Get</a>")
    await browsing.do("click_element", index=browsing.index('"Get"'))
    state = await browsing.until("download of big.bin failed")
    assert "1048576 bytes" in state
    assert browsing.files == {}


@pytest.mark.parametrize(
    ("suggested", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\evil.exe", "evil.exe"),
        (".bashrc", "bashrc"),
        ("", "download"),
        ("...", "download"),
        ("a\n\x1b[31mb$(x).txt", "a__[31mb_(x).txt".replace("[", "_")),
        ("x" * 300 + ".csv", "x" * 48 + ".csv"),
        ("CON\0.txt", "CON_.txt"),
        ("\u202egpj.exe", "_gpj.exe"),
    ],
)
async def test_suggested_names_are_made_harmless(suggested: str, name: str) -> None:
    assert safe_name(suggested) == name


async def test_calls_of_one_turn_run_one_after_the_other(
    browsing: Browsing, pages: WebPages
) -> None:
    await browsing.show("<input aria-label=A><input aria-label=B>")
    a, b = browsing.index('"A"'), browsing.index('"B"')
    await asyncio.gather(
        browsing.call("input_text", index=a, text="first"),
        browsing.call("input_text", index=b, text="second"),
    )
    state = await browsing.do("wait", seconds=0)
    assert 'value="first"' in state
    assert 'value="second"' in state


async def test_after_a_restart_tabs_and_cookies_are_back_and_old_numbers_are_not(
    begin: Begin, pages: WebPages, tmp_path: Path
) -> None:
    browsing = begin(private=tmp_path)
    cookie = "<script>document.title = document.cookie; document.cookie='who=ada'</script>"
    await browsing.show(f"{cookie}<button>Old</button>", "/one")
    old = browsing.index('"Old"')
    await browsing.do("open_tab", url=pages.serve("/two", "<title>Two</title>"))
    await browsing.do("switch_tab", tab_id=0)
    await browsing.tool.context.scopes.step.close()
    again = begin(private=tmp_path)
    refused: ToolResult = await again.call("click_element", index=old)
    assert refused.is_error
    assert "the browser was started anew; 2 tabs were reopened" in again.state
    assert "Page: who=ada" in again.state
    assert "tab 1: Two" in again.state
    assert again.index('"Old"') > old
    assert (tmp_path / "browser.json").stat().st_mode & 0o077 == 0


async def test_a_crashed_page_is_told_and_the_next_call_has_a_new_one(
    begin: Begin, pages: WebPages, tmp_path: Path
) -> None:
    browsing = begin(private=tmp_path)
    await browsing.show("<title>Before</title>", "/before")
    page = await browsing.page()
    cdp = await page.context.new_cdp_session(page)
    during, _ = await asyncio.gather(
        browsing.call("wait", seconds=3), send_fatal(cdp, "Page.crash")
    )
    assert during.error == "the page crashed; the next call starts a new one"
    asked = len(pages.asked)
    assert "URL: about:blank" in await browsing.do("wait", seconds=0)
    assert len(pages.asked) == asked


async def test_a_browser_that_died_is_replaced(begin: Begin, pages: WebPages) -> None:
    browsing = begin()
    await browsing.show("<title>Before</title>")
    browser = (await browsing.page()).context.browser
    assert browser
    await send_fatal(await browser.new_browser_cdp_session(), "Browser.crash")
    fine = pages.serve("/fine", "<title>Fine</title>")
    state = await browsing.do("go_to_url", url=fine)
    assert "Page: Fine" in state
    assert "Note: the browser or a page had crashed since; these tabs are new" in state


async def test_switches_around_the_guard_are_refused_by_name(home: Path) -> None:
    home.mkdir()
    text = '[browser]\nextra_chromium_args = ["--proxy-pac-url=http://x/"]\n'
    (home / "manus.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="would lead around the egress guard"):
        load_settings(home)
    assert BrowserSettings(extra_chromium_args=("--mute-audio",)).extra_chromium_args
