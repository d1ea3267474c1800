import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from core.errors import EnvironmentUnusableError
from core.message import ImagePart, TextPart
from core.settings import Settings
from core.tool_settings import ComputerSettings
from tests.fakes.http_wire import Connection, HttpRequest, serve_connections
from tools.base import ToolContext, ToolResult
from tools.computer_use import ComputerUse
from tools.invoke import invoke
from tools.registry import default_registry
from tools.resources import Scopes, resources
from tools.workspace import StepDirectory

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCREENSHOT = "/api/automation/screenshot"


@dataclass
class FakeDesktop:
    """Records what it is asked and answers as the automation server does."""

    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    tokens: list[str | None] = field(default_factory=list[str | None])
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict[str, tuple[int, bytes]])

    async def serve(self, request: HttpRequest, connection: Connection) -> None:
        body = json.loads(request.body) if request.body else None
        self.asked.append((request.path, body))
        self.tokens.append(request.headers.get("authorization"))
        usual = json.dumps({"success": True}).encode()
        if request.path == SCREENSHOT:
            usual = json.dumps({"image": base64.b64encode(PNG).decode()}).encode()
        status, content = self.answers.get(request.path, (200, usual))
        connection.write_whole(status, {"content-type": "application/json"}, content)


@dataclass
class Session:
    desktop: FakeDesktop
    tool: ComputerUse

    async def act(self, action: str, **given: Any) -> ToolResult:
        return await invoke(self.tool, {"action": action, **given})

    @property
    def last(self) -> tuple[str, Any]:
        """The last request but screenshots."""
        return next(asked for asked in reversed(self.desktop.asked) if asked[0] != SCREENSHOT)


@pytest.fixture
async def session(directory: StepDirectory) -> AsyncGenerator[Session]:
    desktop = FakeDesktop()
    async with serve_connections(desktop.serve) as port, resources() as run:
        settings = ComputerSettings(url=f"http://127.0.0.1:{port}/", token=SecretStr("its-token"))
        context = ToolContext(directory, scopes=Scopes(run=run))
        yield Session(desktop, ComputerUse(settings).bind(context))


@pytest.mark.parametrize(
    ("action", "given", "path", "body"),
    [
        ("move_to", {"x": 10.4, "y": 20.6}, "mouse/move", {"x": 10, "y": 21}),
        (
            "click",
            {"x": 5, "y": 6, "num_clicks": 2, "button": "right"},
            "mouse/click",
            {"x": 5, "y": 6, "clicks": 2, "button": "right"},
        ),
        ("mouse_down", {}, "mouse/down", {"x": 0, "y": 0, "button": "left"}),
        ("mouse_up", {"x": 1, "y": 2}, "mouse/up", {"x": 1, "y": 2, "button": "left"}),
        (
            "drag_to",
            {"x": 7, "y": 8},
            "mouse/drag",
            {"x": 7, "y": 8, "duration": 0.3, "button": "left"},
        ),
        ("scroll", {"amount": -10}, "mouse/scroll", {"clicks": -10, "x": 0, "y": 0}),
        ("typing", {"text": "a\tß"}, "keyboard/write", {"message": "a\tß", "interval": 0.01}),
        ("press", {"key": "enter"}, "keyboard/press", {"keys": "enter", "presses": 1}),
        (
            "hotkey",
            {"keys": "Ctrl+c"},
            "keyboard/hotkey",
            {"keys": ["ctrl", "c"], "interval": 0.01},
        ),
        (
            "hotkey",
            {"keys": "ctrl++"},
            "keyboard/hotkey",
            {"keys": ["ctrl", "+"], "interval": 0.01},
        ),
    ],
)
async def test_an_action_becomes_one_request_and_shows_the_screen(
    session: Session, action: str, given: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    result = await session.act(action, **given)
    assert not result.is_error, result.text
    assert session.desktop.asked == [(f"/api/automation/{path}", body), (SCREENSHOT, None)]
    assert set(session.desktop.tokens) == {"Bearer its-token"}
    text, image = result.state
    assert isinstance(text, TextPart)
    assert isinstance(image, ImagePart)
    assert (image.media_type, base64.b64decode(image.data)) == ("image/png", PNG)


@pytest.mark.parametrize("action", ["screenshot", "wait"])
async def test_looking_and_waiting_touch_nothing(session: Session, action: str) -> None:
    result = await session.act(action, **({"duration": 0} if action == "wait" else {}))
    assert len(result.state) == 2
    assert [path for path, _ in session.desktop.asked] == [SCREENSHOT]


async def test_the_mouse_is_where_the_last_action_left_it(session: Session) -> None:
    await session.act("move_to", x=3, y=4)
    await session.act("scroll", amount=2)
    assert session.last[1] == {"clicks": 2, "x": 3, "y": 4}
    await session.act("drag_to", x=9, y=9)
    await session.act("click", num_clicks=3)
    assert session.last[1] == {"x": 9, "y": 9, "clicks": 3, "button": "left"}


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("move_to", {"x": 1}),
        ("move_to", {"x": -1, "y": 1}),
        ("click", {"x": 1}),
        ("click", {"num_clicks": 4}),
        ("scroll", {"amount": 11}),
        ("scroll", {}),
        ("wait", {"duration": 10.5}),
        ("press", {"key": "nonsense"}),
        ("hotkey", {"keys": "ctrl+nonsense"}),
        ("typing", {}),
        ("fly", {}),
    ],
)
async def test_what_exceeds_the_limits_never_reaches_the_desktop(
    session: Session, action: str, given: dict[str, Any]
) -> None:
    assert (await session.act(action, **given)).is_error
    assert session.desktop.asked == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, b'{"success": false, "error": "no display"}'), "no display"),
        ((500, b'{"detail": "x"}'), "500"),
        ((200, b"<html>"), "without JSON"),
        ((200, b"[]"), "refused"),
    ],
)
async def test_a_failure_of_the_desktop_is_told(
    session: Session, answer: tuple[int, bytes], told: str
) -> None:
    session.desktop.answers["/api/automation/mouse/move"] = answer
    result = await session.act("move_to", x=5, y=5)
    assert result.is_error
    assert told in result.text
    await session.act("scroll", amount=1)
    assert session.last[1] == {"clicks": 1, "x": 0, "y": 0}


@pytest.mark.parametrize("image", ["AAAA", "not base64", ""])
async def test_a_screenshot_that_is_no_image_is_not_passed_on(session: Session, image: str) -> None:
    session.desktop.answers[SCREENSHOT] = (200, json.dumps({"image": image}).encode())
    result = await session.act("screenshot")
    assert result.is_error
    assert result.state == ()


async def test_a_desktop_that_is_gone_is_told(directory: StepDirectory) -> None:
    async with serve_connections(FakeDesktop().serve) as port:
        settings = ComputerSettings(url=f"http://127.0.0.1:{port}")
    async with resources() as run:
        tool = ComputerUse(settings).bind(ToolContext(directory, scopes=Scopes(run=run)))
        result = await invoke(tool, {"action": "screenshot"})
    assert "does not answer" in result.text


async def test_without_an_address_there_is_no_such_tool(directory: StepDirectory) -> None:
    assert "computer_use" not in default_registry(Settings()).names
    configured = Settings(computer=ComputerSettings(url="http://desktop:8000"))
    tool = default_registry(configured).get("computer_use")
    assert tool.annotations.risk == "high"
    async with resources() as run:
        bare = ComputerUse().bind(ToolContext(directory, scopes=Scopes(run=run)))
        with pytest.raises(EnvironmentUnusableError, match="url under"):
            await invoke(bare, {"action": "screenshot"})
