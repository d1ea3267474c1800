"""What the model is told of a page, within a bound it never exceeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.browser.page_index import Look, Shown, View

MOST_CHARACTERS = 3900
"""Under 1,000 tokens at four characters each."""

_LONGEST_URL = 200
_LONGEST_TITLE = 100
_LONGEST_NOTE = 200
_MOST_TABS = 6
_MOST_NOTES = 4


@dataclass(frozen=True, slots=True)
class TabLine:
    """A tab in the list: its number is what switch_tab takes."""

    tab_id: int
    title: str
    url: str
    active: bool


def state_text(view: View, tabs: Sequence[TabLine], notes: Sequence[str]) -> str:
    """The tabs, the scroll position, what can be acted on, and how much there is out of view."""
    head = [*_tab_lines(tabs), _scroll_line(view), *_notes(notes)]
    tail = _out_of_view(view)
    room = MOST_CHARACTERS - sum(len(line) + 1 for line in (*head, tail)) - 60
    listed: list[str] = []
    for element in view.elements:
        line = _element_line(element)
        room -= len(line) + 1
        if room < 0:
            break
        listed.append(line)
    unlisted = view.unlisted + len(view.elements) - len(listed)
    if unlisted:
        listed.append(f"({unlisted} more in view, not listed)")
    return "\n".join((*head, *(listed or ["(nothing to act on in view)"]), tail))[:MOST_CHARACTERS]


def _tab_lines(tabs: Sequence[TabLine]) -> list[str]:
    active = next((tab for tab in tabs if tab.active), None)
    lines: list[str] = []
    if active:
        lines.append(f"Page: {one_line(active.title, _LONGEST_TITLE) or '(no title)'}")
        lines.append(f"URL: {one_line(active.url, _LONGEST_URL)}")
    others = [tab for tab in tabs if not tab.active]
    if active and others:
        lines.append(f"Tab {active.tab_id} is active; others:")
    lines += [f"  tab {t.tab_id}: {one_line(t.title or t.url, 60)}" for t in others[:_MOST_TABS]]
    if len(others) > _MOST_TABS:
        lines.append(f"  and {len(others) - _MOST_TABS} more tabs")
    return lines


def _notes(notes: Sequence[str]) -> list[str]:
    lines = [f"Note: {one_line(note, _LONGEST_NOTE)}" for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        lines.append(f"Note: {len(notes) - _MOST_NOTES} more events")
    return lines


def _scroll_line(view: View) -> str:
    page = view.page
    hidden_below = max(0, round(page.scroll_height - page.scroll_top - page.height))
    return (
        f"State {view.generation}. Scrolled {round(page.scroll_top)} px, {hidden_below} px below. "
        "In view, what is after | is from the page:"
    )


def _out_of_view(view: View) -> str:
    page = view.page
    parts = [f"{page.above} above", f"{page.below} below"]
    if page.beside:
        parts.append(f"{page.beside} beside")
    if page.covered:
        parts.append(f"{page.covered} covered by something else")
    more = f"Out of view: {', '.join(parts)}."
    if view.skipped_frames:
        more += f" {view.skipped_frames} frames could not be looked into."
    if page.cut:
        more += " The page is so large that its end was not counted."
    return more


def _element_line(element: Shown) -> str:
    inside = f" (in frame {one_line(element.inside, 40)})" if element.inside else ""
    return f"[{element.index}] | {described(element.look)}{inside}"


def described(look: Look) -> str:
    """An element in one line: role, name, value, placeholder, states."""
    words = [one_line(look.role, 24)]
    if look.name:
        words.append(f'"{one_line(look.name, 70)}"')
    if look.value and look.value != look.name:
        words.append(f'value="{one_line(look.value, 70)}"')
    if look.placeholder and look.placeholder != look.name:
        words.append(f'placeholder="{one_line(look.placeholder, 50)}"')
    if look.states:
        words.append(f"({one_line(', '.join(look.states[:6]), 60)})")
    return " ".join(words)


def one_line(text: str, longest: int) -> str:
    """A page's own text, where it cannot pass for a line of ours."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
