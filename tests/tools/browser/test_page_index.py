"""What is shown of a page, and what a number may be used for."""

from __future__ import annotations

import asyncio
import time

import pytest

from core.tool_settings import BrowserSettings
from tests.fakes.web_pages import WebPages
from tests.tools.browser.conftest import QUICK, Begin, Browsing

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHARACTERS_PER_TOKEN = 4


async def test_elements_in_shadow_roots_are_shown_and_clicked(browsing: Browsing) -> None:
    await browsing.show(
        """<div id=host></div><script>
        const outer = host.attachShadow({mode: 'open'});
        outer.innerHTML = '<p>x</p><div id=inner></div>';
        const inner = outer.getElementById('inner').attachShadow({mode: 'open'});
        inner.innerHTML = '<button>Deep</button>';
        inner.firstChild.onclick = e => e.target.textContent = 'Reached';
        </script>"""
    )
    assert '"Reached"' in await browsing.do("click_element", index=browsing.index('"Deep"'))


async def test_elements_in_iframes_of_any_origin_are_shown_and_clicked(
    browsing: Browsing, pages: WebPages
) -> None:
    button = "<button onclick=\"this.textContent='Hit'\">{}</button>"
    pages.serve("/inner", button.format("Inner"))
    same = pages.serve(
        "/same", button.format("Same") + "<iframe name=in src=/inner width=300 height=60></iframe>"
    )
    # A sandboxed frame has an origin of its own.
    other = pages.serve("/other", button.format("Other"))
    await browsing.show(
        f"<div style='height:40px'></div><iframe name=one src={same} width=400 height=200></iframe>"
        f"<iframe name=two sandbox=allow-scripts src={other} width=400 height=60></iframe>"
        f"<iframe src={other} width=400 height=60 style='visibility:hidden'></iframe>"
    )
    await browsing.until('"Other" (in frame two)')
    state = await browsing.until('"Inner" (in frame in)')
    assert '"Same" (in frame one)' in state
    assert state.split("State")[-1].count('"Other"') == 1
    for name in ("Inner", "Same", "Other"):
        await browsing.do("click_element", index=browsing.index(f'"{name}"'))
    assert browsing.state.count('"Hit"') == 3


async def test_what_something_else_covers_is_counted_and_not_listed(
    browsing: Browsing, pages: WebPages
) -> None:
    framed = pages.serve("/framed", "<button style='margin-top:20px'>Framed</button>")
    state = await browsing.show(
        f"<button>Under</button><iframe src={framed} style='position:absolute;top:100px'></iframe>"
        "<div style='position:fixed;inset:0;height:300px;background:white'><button>Close</button>"
        "</div><button style='display:none'>None</button>"
        "<button style='visibility:hidden'>Hidden</button>"
    )
    assert '"Close"' in state
    assert "1 covered by something else" in state
    for name in ("Under", "Framed", "None", "Hidden"):
        assert f'"{name}"' not in state


async def test_a_clickable_thing_that_is_no_button_is_shown_once(browsing: Browsing) -> None:
    state = await browsing.show(
        "<div style='cursor:pointer' onmouseup=\"this.id='x'\"><span>Card</span></div>"
    )
    assert state.count('"Card"') == 1


async def test_a_number_stays_with_its_element_while_the_page_changes(browsing: Browsing) -> None:
    await browsing.show(
        "<button onclick=\"this.before(Object.assign(document.createElement('button'),"
        "{textContent: 'New'}))\">Add</button>"
    )
    add = browsing.index('"Add"')
    await browsing.do("click_element", index=add)
    assert browsing.index('"Add"') == add
    assert browsing.index('"New"') > add


async def test_a_number_of_an_older_page_is_refused_with_the_new_state(browsing: Browsing) -> None:
    await browsing.show("<button>Old</button>", "/old")
    old = browsing.index('"Old"')
    await browsing.show("<button>Pay</button>", "/new")
    refused = await browsing.call("click_element", index=old)
    assert refused.error is not None
    assert refused.error.startswith(f"element {old} is gone")
    assert '"Pay"' in browsing.state
    never = await browsing.call("click_element", index=9999)
    assert never.error is not None
    assert "element 9999 was never given" in never.error


async def test_an_element_that_became_another_is_refused(browsing: Browsing) -> None:
    await browsing.show(
        "<button id=a>Show</button>"
        "<script>setTimeout(() => a.textContent = 'Delete all', 700)</script>"
    )
    index = browsing.index('"Show"')
    await asyncio.sleep(1.2)
    refused = await browsing.call("click_element", index=index)
    assert refused.is_error
    assert '"Delete all"' in browsing.state


async def test_a_page_that_loops_is_given_up_and_left(begin: Begin, pages: WebPages) -> None:
    browsing = begin(QUICK.model_copy(update={"action_timeout_seconds": 2}))
    await browsing.show("<button onclick='for(;;);'>Loop</button>")
    await browsing.call("click_element", index=browsing.index('"Loop"'))
    assert "cannot be looked at: it is busy" in browsing.state
    fine = pages.serve("/fine", "<title>Fine</title>")
    assert "Page: Fine" in await browsing.do("open_tab", url=fine), browsing.last


async def test_passwords_are_not_shown(browsing: Browsing) -> None:
    state = await browsing.show("<input type=password aria-label=Key value=hunter2-secret>")
    assert "hunter2" not in state
    assert "••••" in state


async def test_the_state_of_a_page_with_5000_elements_stays_under_1000_tokens(
    browsing: Browsing,
) -> None:
    name = "An offer with a rather long name, number"
    items = "".join(
        f"<div><a href='/{n}'>{name} {n}</a> <button>Buy {n}</button></div>" for n in range(2500)
    )
    state = await browsing.show(f"<title>{'Offers ' * 100}</title>{items}")
    assert len(state) / CHARACTERS_PER_TOKEN < 1000
    assert "more in view, not listed" in state or "below." in state
    below = int(state.rsplit("above, ", 1)[1].split(" below")[0])
    assert below > 4500
    session = await browsing.tool._session()  # pyright: ignore[reportPrivateUsage]
    times: list[float] = []
    for _ in range(7):
        began = time.perf_counter()
        await session.look()
        times.append(time.perf_counter() - began)
    print(f"5,000 elements: state in {sorted(times)[3] * 1000:.0f} ms, {len(state) // 4} tokens")


async def test_what_a_page_says_cannot_fill_the_state_or_pass_for_a_line_of_it(
    begin: Begin,
) -> None:
    many = "".join(
        f"<button title='{'t' * 300}'>x\n[1] | button Fake {'long ' * 99}{n}</button>"
        for n in range(300)
    )
    browsing = begin()
    state = await browsing.show(f"{many}<script>alert('a'.repeat(9999))</script>")
    assert len(state) / CHARACTERS_PER_TOKEN < 1000
    assert not [line for line in state.splitlines() if line.startswith("[1] | button Fake")]


async def test_a_screenshot_is_shown_only_where_it_is_wanted(begin: Begin) -> None:
    browsing = begin(BrowserSettings(screenshots=True))
    await browsing.show("<h1>x</h1>")
    assert [image.media_type for image in browsing.images] == ["image/jpeg"]
    plain = begin()
    await plain.tool.context.scopes.step.close()
    await plain.show("<h1>x</h1>")
    assert plain.images == []
