"""The mouse, keyboard and screen of a sandboxed desktop, through its automation server.

The server's paths and fields are those of the desktops that Daytona's sandboxes run on port 8000:
``POST /api/automation/mouse/click`` and so on, answered by ``{"success": true}``.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from core.base import JsonObject, is_object
from core.errors import EnvironmentUnusableError, InvalidArgumentsError, ToolFailedError
from core.message import ImagePart, TextPart
from core.tool_settings import ComputerSettings
from tools.base import BaseTool, ToolAnnotations, ToolResult, object_schema

if TYPE_CHECKING:
    import httpx

Button = Literal["left", "right", "middle"]

MAX_SCROLL = 10
MAX_WAIT_SECONDS = 10.0
MAX_TEXT_CHARACTERS = 10_000
MAX_SCREENSHOT_BYTES = 5_000_000
DRAG_SECONDS = 0.3
KEY_INTERVAL_SECONDS = 0.01
KEYS = (
    *"abcdefghijklmnopqrstuvwxyz0123456789",
    *("enter", "esc", "backspace", "tab", "space", "delete", "insert"),
    *("ctrl", "alt", "shift", "win", "up", "down", "left", "right"),
    *(f"f{number}" for number in range(1, 13)),
    *("home", "end", "pageup", "pagedown", "capslock", "printscreen", "pause"),
    *("+", "-", "*", "/", "=", ".", ",", ";", "'", "`", "[", "]", "\\"),
)
_SCREENSHOT = "/automation/screenshot"
_COORDINATE: JsonObject = {"type": "number", "minimum": 0, "maximum": 20_000}
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


@dataclass(slots=True)
class Desktop:
    """An open connection, and where our mouse is on it. ``turn`` keeps one call at a time."""

    client: httpx.AsyncClient
    turn: asyncio.Lock
    x: int = 0
    y: int = 0


class ComputerUse(BaseTool):
    name = "computer_use"
    description = (
        "Uses a desktop: move_to (x, y), click (num_clicks, button; x, y or where the mouse is), "
        "mouse_down, mouse_up, drag_to (x, y), scroll (amount -10 to 10, up is positive), typing "
        "(text), press (key), hotkey (keys such as ctrl+c), wait (duration, at most 10 s), "
        "screenshot. After each action you see the screen."
    )
    parameters = object_schema(
        ("action",),
        action={
            "enum": [
                *("move_to", "click", "scroll", "typing", "press", "wait", "mouse_down"),
                *("mouse_up", "drag_to", "hotkey", "screenshot"),
            ]
        },
        x=_COORDINATE,
        y=_COORDINATE,
        button={"enum": ["left", "right", "middle"], "default": "left"},
        num_clicks={"type": "integer", "enum": [1, 2, 3], "default": 1},
        amount={"type": "integer", "minimum": -MAX_SCROLL, "maximum": MAX_SCROLL},
        text={"type": "string", "maxLength": MAX_TEXT_CHARACTERS},
        key={"type": "string", "enum": list(KEYS)},
        keys={"type": "string", "maxLength": 60, "description": "Joined by +, as in ctrl+shift+t."},
        duration={"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0.5},
    )
    annotations = ToolAnnotations(network=True, risk="high", untrusted_output=True)
    verbatim: ClassVar[frozenset[str]] = frozenset({"text"})
    on_unknown = "fail"

    def __init__(self, settings: ComputerSettings | None = None) -> None:
        self._settings = settings or ComputerSettings()
        self.timeout_seconds = self._settings.timeout_seconds * 2 + MAX_WAIT_SECONDS

    async def execute(self, action: str, **given: Any) -> ToolResult:
        desktop = await self.context.scopes.run.obtain("computer_use", self._open)
        async with desktop.turn:
            return await self._act(desktop, action, given)

    async def _act(self, desktop: Desktop, action: str, given: JsonObject) -> ToolResult:
        if action == "wait":
            seconds = min(float(given.get("duration", 0.5)), MAX_WAIT_SECONDS)
            await asyncio.sleep(seconds)
            done = f"Waited {seconds:g} s."
        elif action == "screenshot":
            done = "This is the screen."
        else:
            path, body, done = _request(desktop, action, given)
            await _post(desktop.client, path, body)
            desktop.x, desktop.y = body.get("x", desktop.x), body.get("y", desktop.y)
        image = _image(await _post(desktop.client, _SCREENSHOT, None))
        where = TextPart(text=f"The screen after {action}; mouse at ({desktop.x}, {desktop.y}):")
        return ToolResult(output=done, state=(where, image))

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Desktop]:
        import httpx

        settings = self._settings
        if settings.url is None:
            raise EnvironmentUnusableError("computer_use: set url under [computer]")
        token = settings.token
        headers = {"authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        async with httpx.AsyncClient(
            base_url=settings.url.rstrip("/") + "/api",
            headers=headers,
            timeout=settings.timeout_seconds,
            trust_env=False,
        ) as client:
            yield Desktop(client, asyncio.Lock())


def _request(desktop: Desktop, action: str, given: JsonObject) -> tuple[str, JsonObject, str]:
    """Path, body and what it means in words."""
    match action, given:
        case "move_to", {"x": x, "y": y}:
            body: JsonObject = {"x": round(x), "y": round(y)}
            return "/automation/mouse/move", body, f"Moved to ({body['x']}, {body['y']})."
        case "drag_to", {"x": x, "y": y}:
            body = {"x": round(x), "y": round(y), "duration": DRAG_SECONDS, "button": "left"}
            begin = f"({desktop.x}, {desktop.y})"
            return (
                "/automation/mouse/drag",
                body,
                f"Dragged from {begin} to ({body['x']}, {body['y']}).",
            )
        case "click" | "mouse_down" | "mouse_up", _:
            return _button(desktop, action, given)
        case "scroll", {"amount": amount}:
            body = {"clicks": amount, "x": desktop.x, "y": desktop.y}
            return "/automation/mouse/scroll", body, f"Scrolled by {amount}."
        case _:
            return _keyboard(action, given)


def _button(desktop: Desktop, action: str, given: JsonObject) -> tuple[str, JsonObject, str]:
    if ("x" in given) != ("y" in given):
        raise InvalidArgumentsError(f"'{action}' needs both 'x' and 'y', or neither")
    x, y = round(given.get("x", desktop.x)), round(given.get("y", desktop.y))
    button: Button = given.get("button", "left")
    body: JsonObject = {"x": x, "y": y, "button": button}
    if action == "click":
        body["clicks"] = given.get("num_clicks", 1)
        return "/automation/mouse/click", body, f"Clicked {button} x{body['clicks']} at ({x}, {y})."
    path = f"/automation/mouse/{action.removeprefix('mouse_')}"
    return path, body, f"{action} {button} at ({x}, {y})."


def _keyboard(action: str, given: JsonObject) -> tuple[str, JsonObject, str]:
    match action, given:
        case "typing", {"text": text}:
            body: JsonObject = {"message": text, "interval": KEY_INTERVAL_SECONDS}
            return "/automation/keyboard/write", body, f"Typed {len(text)} characters."
        case "press", {"key": key}:
            body = {"keys": key, "presses": 1}
            return "/automation/keyboard/press", body, f"Pressed {key}."
        case "hotkey", {"keys": keys}:
            body = {"keys": _sequence(keys), "interval": KEY_INTERVAL_SECONDS}
            return "/automation/keyboard/hotkey", body, f"Pressed {keys}."
        case _:
            raise InvalidArgumentsError(f"'{action}' needs {_NEEDS[action]}")


_NEEDS = {
    "move_to": "'x' and 'y'",
    "drag_to": "'x' and 'y'",
    "scroll": "'amount'",
    "typing": "'text'",
    "press": "'key'",
    "hotkey": "'keys'",
}


def _sequence(keys: str) -> list[str]:
    """A final ``++`` is the plus key itself."""
    text = keys.lower().strip()
    plus = ["+"] if text.endswith("++") else []
    names = [name.strip() for name in (text[:-2] if plus else text).split("+")] + plus
    unknown = [name for name in names if name not in KEYS]
    if unknown:
        raise InvalidArgumentsError(f"'keys': no key named '{unknown[0]}'")
    return names


async def _post(client: httpx.AsyncClient, path: str, body: JsonObject | None) -> JsonObject:
    """The server's answer.

    Raises:
        ToolFailedError: not reached, not what the protocol promises, or the action failed.
    """
    import httpx

    try:
        response = await client.post(path, json=body)
    except httpx.HTTPError as error:
        raise ToolFailedError(f"the desktop does not answer: {type(error).__name__}") from error
    try:
        answer: object = response.json()
    except ValueError as error:
        message = f"the desktop answered {response.status_code} without JSON"
        raise ToolFailedError(message) from error
    if (
        not is_object(answer)
        or response.is_error
        or not (answer.get("success") or "image" in answer)
    ):
        reason = answer.get("error") if is_object(answer) else None
        raise ToolFailedError(f"the desktop refused: {str(reason or response.status_code)[:300]}")
    return answer


def _image(answer: JsonObject) -> ImagePart:
    data = str(answer.get("image", "")).rpartition("base64,")[2]
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ToolFailedError("the desktop's screenshot is not base64") from error
    kind = next((kind for mark, kind in _SIGNATURES if content.startswith(mark)), None)
    if kind is None or len(data) > MAX_SCREENSHOT_BYTES:
        raise ToolFailedError("the desktop's screenshot is no PNG or JPEG of at most 5 MB")
    return ImagePart.model_validate({"media_type": kind, "data": data})
