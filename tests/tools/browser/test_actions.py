"""Each action, on real pages in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from core.completion import Completion, CompletionRequest, StopReason
from core.message import TextPart, ToolCallPart
from tests.tools.browser.conftest import Begin, Browsing
from tools.base import BaseTool, ToolResult, object_schema

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORM = """<title>Sign up</title>
<label for=n>Full name</label><input id=n placeholder="as on your card">
<select id=s aria-label=Colour onchange="o.value=this.value">
  <option value=r>Red</option><option value=b>Blue</option></select>
<button onclick="o.value='pressed'">Send</button> <output id=o></output>
<input aria-label=Echo id=o2>"""
TALL = "<h1>Top</h1><div style='height:5000px'></div><p>The very bottom</p><button>Last</button>"


async def output(browsing: Browsing) -> str:
    page = await browsing.call("extract_content", goal="all")
    return page.text


async def test_go_to_url_opens_a_page_and_shows_its_state(browsing: Browsing) -> None:
    state = await browsing.show(FORM)
    assert browsing.last.output.startswith(f"Opened http://{browsing.pages.host}/page")
    assert "Page: Sign up" in state
    assert '| textbox "Full name" placeholder="as on your card"' in state
    assert '| select "Colour" value="Red"' in state


async def test_click_element_presses_a_button(browsing: Browsing) -> None:
    await browsing.show("<button onclick=\"this.textContent='Done'\">Go</button>")
    state = await browsing.do("click_element", index=browsing.index('"Go"'))
    assert '"Done"' in state


async def test_input_text_replaces_what_a_field_holds(browsing: Browsing) -> None:
    await browsing.show("<input aria-label=Name value=old>")
    field = browsing.index('"Name"')
    assert 'value="Ada"' in await browsing.do("input_text", index=field, text="Ada")
    assert "value=" not in await browsing.do("input_text", index=field, text="")


async def test_scroll_down_and_up_move_the_page_and_say_how_far(browsing: Browsing) -> None:
    assert "Out of view: 0 above, 1 below" in await browsing.show(TALL)
    assert "Scrolled 800 px" in await browsing.do("scroll_down")
    assert "Scrolled 500 px" in await browsing.do("scroll_up", scroll_amount=300)
    assert '"Last"' in await browsing.do("scroll_down", scroll_amount=90_000)
    await browsing.do("scroll_down")
    assert browsing.last.output == "The page does not scroll down any further"


async def test_scroll_to_text_brings_it_into_view(browsing: Browsing) -> None:
    await browsing.show(TALL)
    assert '"Last"' in await browsing.do("scroll_to_text", text="The very bottom")
    missing = await browsing.call("scroll_to_text", text="not there")
    assert missing.error == "the page does not show the text 'not there'"


async def test_send_keys_presses_keys_where_the_focus_is(browsing: Browsing) -> None:
    await browsing.show("<form action=/sent><input name=q aria-label=Query></form>")
    browsing.pages.serve("/sent", "<title>Sent</title>")
    await browsing.do("input_text", index=browsing.index('"Query"'), text="x")
    assert "Page: Sent" in await browsing.do("send_keys", keys="Enter")
    wrong = await browsing.call("send_keys", keys="Entre")
    assert wrong.error is not None
    assert wrong.error.startswith("'Entre' is no key; use names such as Enter")


async def test_get_dropdown_options_lists_them(browsing: Browsing) -> None:
    await browsing.show(FORM)
    await browsing.do("get_dropdown_options", index=browsing.index("Colour"))
    assert '"text": "Blue"' in browsing.last.output
    other = await browsing.call("get_dropdown_options", index=browsing.index("Send"))
    assert other.error is not None
    assert "is no select element" in other.error


@pytest.mark.parametrize("text", ["Blue", "b"])
async def test_select_dropdown_option_takes_a_label_or_a_value(
    browsing: Browsing, text: str
) -> None:
    await browsing.show(FORM)
    state = await browsing.do("select_dropdown_option", index=browsing.index("Colour"), text=text)
    assert 'value="Blue"' in state
    wrong = await browsing.call(
        "select_dropdown_option", index=browsing.index("Colour"), text="Green"
    )
    assert wrong.error == "there is no option 'Green'; options: Red, Blue"


async def test_go_back_returns_to_the_page_before(browsing: Browsing) -> None:
    await browsing.show("<title>First</title>", "/first")
    await browsing.show("<title>Second</title>", "/second")
    assert "Page: First" in await browsing.do("go_back")


async def test_wait_waits(browsing: Browsing) -> None:
    await browsing.show("<script>setTimeout(() => document.title = 'Later', 300)</script>")
    assert "Page: Later" in await browsing.do("wait", seconds=1)


async def test_tabs_are_opened_switched_and_closed(browsing: Browsing) -> None:
    await browsing.show("<title>First</title>", "/first")
    second = browsing.pages.serve("/second", "<title>Second</title>")
    state = await browsing.do("open_tab", url=second)
    assert "Page: Second" in state
    assert "tab 0:" in state
    assert "Page: First" in await browsing.do("switch_tab", tab_id=0)
    assert "Page: Second" in await browsing.do("switch_tab", tab_id=1)
    state = await browsing.do("close_tab")
    assert "Page: First" in state
    assert "tab 1" not in state
    gone = await browsing.call("switch_tab", tab_id=1)
    assert gone.error == "there is no tab 1; tabs: 0"


async def test_refresh_loads_the_page_again(browsing: Browsing) -> None:
    await browsing.show("<title>Old</title>")
    browsing.pages.serve("/page", "<title>New</title>")
    assert "Page: New" in await browsing.do("refresh")


async def test_snapshot_shows_the_whole_page_as_a_tree(browsing: Browsing) -> None:
    await browsing.show(TALL)
    await browsing.do("snapshot")
    assert 'button "Last"' in browsing.last.output
    await browsing.do("snapshot", depth=1)
    assert "[ref=" in browsing.last.output


async def test_upload_gives_a_page_a_file_of_the_workspace_and_no_other(
    browsing: Browsing,
) -> None:
    await browsing.show(
        "<form method=post enctype=multipart/form-data action=/taken>"
        "<input type=file name=f aria-label=File><button>Send</button></form>"
    )
    browsing.pages.serve("/taken", "<title>Taken</title>")
    (browsing.tool.context.directory.path / "a.txt").write_text("mine", encoding="utf-8")
    await browsing.do("upload_file", index=browsing.index('"File"'), path="a.txt")
    assert "Page: Taken" in await browsing.do("click_element", index=browsing.index('"Send"'))
    assert b'filename="a.txt"' in browsing.pages.posted[-1]
    assert b"mine" in browsing.pages.posted[-1]
    await browsing.do("go_back")
    refused = await browsing.call(
        "upload_file", index=browsing.index('"File"'), path="/etc/hostname"
    )
    assert refused.error is not None
    assert "not in this step's workspace" in refused.error


class ScriptedModel:
    """Answers with the extraction it is given, and keeps what it was asked."""

    def __init__(self, **extraction: Any) -> None:
        self.extraction = extraction
        self.asked: list[CompletionRequest] = []

    async def ask(self, request: CompletionRequest) -> Completion:
        self.asked.append(request)
        call = ToolCallPart(id="1", name="extract_content", arguments=self.extraction)
        parts = (call,) if self.extraction else (TextPart(text="free text"),)
        return Completion(
            parts=parts, stop_reason=StopReason.TOOL_CALLS, provider="p", deployment="d", model="m"
        )


ARTICLE = "<title>Prices</title><article><h1>Prices</h1><p>A lamp costs 12 euros.</p></article>"


async def test_extract_content_without_a_model_gives_the_page_itself(browsing: Browsing) -> None:
    await browsing.show(ARTICLE)
    assert "A lamp costs 12 euros." in (await browsing.call("extract_content", goal="x")).output


async def test_extract_content_asks_the_model_with_a_forced_tool(begin: Begin) -> None:
    model = ScriptedModel(extracted_content="lamp: 12 EUR")
    browsing = begin(model=model)
    await browsing.show(ARTICLE)
    result = await browsing.call("extract_content", goal="the price of a lamp")
    assert result.output == "lamp: 12 EUR"
    request = model.asked[0]
    assert request.tool_choice.name == "extract_content"
    assert "Goal: the price of a lamp" in request.messages[1].text
    assert "A lamp costs 12 euros." in request.messages[1].text


async def test_extract_content_takes_text_from_a_model_that_calls_no_tool(begin: Begin) -> None:
    browsing = begin(model=ScriptedModel())
    await browsing.show(ARTICLE)
    assert (await browsing.call("extract_content", goal="x")).output == "free text"


class ScriptedSearch(BaseTool):
    """Finds what it is given."""

    name = "web_search"
    description = "Finds what it is given."
    parameters = object_schema(("query",), query={"type": "string"})

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def execute(self, query: str) -> ToolResult:
        assert self.context.directory
        found = [{"position": n, "url": url} for n, url in enumerate(self.addresses)]
        return ToolResult(output=f"found for {query}", data={"results": found})


async def test_web_search_opens_the_first_result_and_lists_all(begin: Begin) -> None:
    browsing = begin()
    address = browsing.pages.serve("/hit", "<title>Hit</title>")
    browsing = begin(search=ScriptedSearch(address, "http://203.0.113.1/"))
    assert "Page: Hit" in await browsing.do("web_search", query="lamps")
    assert browsing.last.output.endswith("found for lamps")


async def test_web_search_without_results_says_what_the_search_said(begin: Begin) -> None:
    result = await begin(search=ScriptedSearch()).call("web_search", query="lamps")
    assert result.output == "found for lamps"


@pytest.mark.parametrize(
    ("action", "missing"),
    [
        ("go_to_url", "url"),
        ("click_element", "index"),
        ("input_text", "index and text"),
        ("switch_tab", "tab_id"),
        ("extract_content", "goal"),
    ],
)
async def test_what_an_action_needs_is_said(browsing: Browsing, action: str, missing: str) -> None:
    result = await browsing.call(action)
    assert result.error is not None
    assert result.error.startswith(f"browser_use: {action} needs {missing}. It takes:")
