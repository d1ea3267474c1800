"""What each action takes, and what is said where a call does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from core.base import JsonObject
from core.errors import InvalidArgumentsError
from tools.base import object_schema

Action = Literal[
    "go_to_url",
    "click_element",
    "input_text",
    "scroll_down",
    "scroll_up",
    "scroll_to_text",
    "send_keys",
    "get_dropdown_options",
    "select_dropdown_option",
    "go_back",
    "web_search",
    "wait",
    "extract_content",
    "switch_tab",
    "open_tab",
    "close_tab",
    "refresh",
    "snapshot",
    "upload_file",
]

REQUIRED: Mapping[Action, tuple[str, ...]] = {
    "go_to_url": ("url",),
    "click_element": ("index",),
    "input_text": ("index", "text"),
    "scroll_to_text": ("text",),
    "send_keys": ("keys",),
    "get_dropdown_options": ("index",),
    "select_dropdown_option": ("index", "text"),
    "web_search": ("query",),
    "extract_content": ("goal",),
    "switch_tab": ("tab_id",),
    "open_tab": ("url",),
    "upload_file": ("index", "path"),
}

PARAMETERS: JsonObject = object_schema(
    ("action",),
    action={"type": "string", "enum": list(get_args(Action)), "description": "What to do."},
    url={"type": "string", "description": "For go_to_url and open_tab; http or https."},
    index={
        "type": "integer",
        "minimum": 1,
        "description": "Number of an element in the last state shown, for click_element, "
        "input_text, get_dropdown_options, select_dropdown_option and upload_file.",
    },
    text={
        "type": "string",
        "description": "For input_text (replaces what is there), scroll_to_text, and "
        "select_dropdown_option (the option's label or value).",
    },
    scroll_amount={
        "type": "integer",
        "minimum": 1,
        "maximum": 100_000,
        "description": "Pixels for scroll_down and scroll_up; the window's height without it.",
    },
    tab_id={"type": "integer", "minimum": 0, "description": "For switch_tab and close_tab."},
    query={"type": "string", "description": "For web_search."},
    goal={"type": "string", "description": "What extract_content is to find out of the page."},
    keys={
        "type": "string",
        "description": "For send_keys: one key or combination, such as Enter, Escape or Control+a.",
    },
    seconds={
        "type": "integer",
        "minimum": 0,
        "maximum": 60,
        "description": "For wait; 3 without it.",
    },
    path={"type": "string", "description": "For upload_file: a file of the workspace."},
    depth={
        "type": "integer",
        "minimum": 1,
        "maximum": 30,
        "description": "For snapshot, the whole page as an accessibility tree: levels; 8 without.",
    },
)


@dataclass(frozen=True, slots=True)
class BrowserCall:
    """A call that fits its action. What an action does not use is at its default."""

    action: Action
    url: str = ""
    index: int = 0
    text: str = ""
    scroll_amount: int | None = None
    tab_id: int | None = None
    query: str = ""
    goal: str = ""
    keys: str = ""
    seconds: int = 3
    path: str = ""
    depth: int = 8


def checked_call(action: Action, arguments: Mapping[str, Any]) -> BrowserCall:
    """Arguments of other actions are let pass: models that must fill in every field do so.

    Raises:
        InvalidArgumentsError: names what is missing, and what the action takes.
    """
    needed = REQUIRED.get(action, ())
    given = {name: value for name, value in arguments.items() if value is not None}
    missing = [n for n in needed if n not in given or (given[n] == "" and action != "input_text")]
    if missing:
        raise InvalidArgumentsError(
            f"browser_use: {action} needs {' and '.join(missing)}. It takes: {', '.join(needed)}."
        )
    return BrowserCall(action, **given)
