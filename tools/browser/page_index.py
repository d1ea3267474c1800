"""What can be acted on in a tab, by numbers that never come to mean something else.

A number is given to an element once and stays with it while its document lives. A number is never
used again, and it stops working when the element goes or is no longer what was shown.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from core.base import Value

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Frame, JSHandle, Page

MOST_ELEMENTS = 150
MOST_FRAMES = 12
_FRAME_SECONDS = 1.5
_HOSTILE_TEXT = 100

Point = tuple[float, float]


class _FromPage(Value):
    """A page can tamper with what a script in it says: types are checked, more is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Rect(_FromPage):
    """Pixels, from the upper left corner of a frame's viewport."""

    x: float
    y: float
    width: float
    height: float


class Look(_FromPage):
    """How an element appears."""

    role: str
    name: str = ""
    value: str = ""
    placeholder: str = ""
    states: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, str]:
        """What must not change between showing an element and acting on it."""
        return self.role, self.name


class FoundElement(Look):
    id: int
    x: float
    y: float


class FrameLook(_FromPage):
    """What ``look`` of index.js says. Counts are of interactive elements; heights are pixels."""

    elements: tuple[FoundElement, ...]
    above: int
    below: int
    beside: int
    covered: int
    unlisted: int
    cut: bool
    scroll_top: float
    height: float
    width: float
    scroll_height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """An element as the model last saw it. ``inside`` names the iframe, empty for the page."""

    index: int
    look: Look
    inside: str
    document: _Document
    local_id: int


@dataclass(frozen=True, slots=True)
class View:
    """One look at a tab. ``generation`` counts the looks of a session."""

    generation: int
    page: FrameLook
    elements: tuple[Shown, ...]
    unlisted: int
    skipped_frames: int = 0


@dataclass(slots=True)
class _Document:
    """The script's object in one document, and the numbers its elements were given."""

    script: JSHandle
    indexes: dict[int, int] = field(default_factory=dict[int, int])

    async def look(self, clip: Rect | None, limit: int) -> FrameLook:
        options = {"clip": clip.model_dump() if clip else None, "limit": limit}
        return FrameLook.model_validate(await self.script.evaluate(_CALL_LOOK, options))


_CALL_LOOK = "(script, options) => script.look(options)"
_CALL_DESCRIBE = "(script, id) => script.describe(id)"
_CALL_ELEMENT = "(script, id) => script.element(id)"
_CALL_PART = "(script, options) => script.part(options)"
_CALL_UNCOVERED = "(script, options) => script.uncovered(options)"


class PageIndex:
    """The index of one tab. ``numbers`` is shared by the tabs of a session."""

    def __init__(self, page: Page, numbers: Numbers) -> None:
        self._page = page
        self._numbers = numbers
        self._documents: dict[Frame, _Document] = {}
        self._shown: dict[int, Shown] = {}
        self._silent: dict[Frame, str] = {}

    async def look(self) -> View:
        """Raises playwright's Error where the page died or navigates all the time."""
        from playwright.async_api import Error

        try:
            return await self._look()
        except Error:
            # The document was replaced while it was looked at.
            await self._page.wait_for_load_state("domcontentloaded")
            return await self._look()

    async def _look(self) -> View:
        frame = self._page.main_frame
        document, page = await self._look_at(frame, None)
        shown = [self._number(document, element, "") for element in page.elements]
        walk = _Walk(shown, page.unlisted)
        await self._inside(frame, document, None, walk)
        self._shown = {element.index: element for element in walk.shown}
        self._documents = {f: d for f, d in self._documents.items() if not f.is_detached()}
        return View(
            self._numbers.next_generation(), page, tuple(walk.shown), walk.unlisted, walk.skipped
        )

    async def _look_at(self, frame: Frame, clip: Rect | None) -> tuple[_Document, FrameLook]:
        """Numbers stay while the document does; a new document has a script of its own."""
        from playwright.async_api import Error

        document = self._documents.get(frame)
        if document:
            try:
                return document, await document.look(clip, MOST_ELEMENTS)
            except Error:
                del self._documents[frame]
        script = await frame.evaluate_handle(_index_script())
        document = self._documents[frame] = _Document(script)
        return document, await document.look(clip, MOST_ELEMENTS)

    async def _inside(
        self, frame: Frame, document: _Document, clip: Rect | None, walk: _Walk
    ) -> None:
        """Adds what shows of the iframes of a frame, and of theirs."""
        for child in frame.child_frames:
            if walk.frames >= MOST_FRAMES:
                walk.skipped += 1
                continue
            walk.frames += 1
            await self._one_inside(child, document, clip, walk)

    async def _one_inside(
        self, child: Frame, above: _Document, clip: Rect | None, walk: _Walk
    ) -> None:
        """A frame that did not answer is not asked again before it is somewhere else."""
        from playwright.async_api import Error

        if self._silent.get(child) == child.url:
            walk.skipped += 1
            return
        try:
            async with asyncio.timeout(_FRAME_SECONDS):
                visible = await self._shown_inside(child, above, clip, walk)
        except (Error, TimeoutError) as error:
            # It went away meanwhile, or is one that cannot be loaded and has no document.
            if isinstance(error, TimeoutError):
                self._silent[child] = child.url
            walk.skipped += 1
            return
        if visible:
            await self._inside(child, self._documents[child], visible, walk)

    async def _shown_inside(
        self, child: Frame, above: _Document, clip: Rect | None, walk: _Walk
    ) -> Rect | None:
        """The part of a frame that shows, what is in it being added; None where nothing shows."""
        element = await child.frame_element()
        options = {"el": element, "clip": clip.model_dump() if clip else None}
        part = await above.script.evaluate(_CALL_PART, options)
        if part is None:
            return None
        visible = Rect.model_validate(part)
        document, look = await self._look_at(child, visible)
        free = await _uncovered(above, element, [(e.x, e.y) for e in look.elements])
        inside = (child.name or child.url)[:_HOSTILE_TEXT]
        for found, is_free in zip(look.elements, free, strict=True):
            if is_free:
                walk.shown.append(self._number(document, found, inside))
        walk.unlisted += look.unlisted
        return visible

    def _number(self, document: _Document, found: FoundElement, inside: str) -> Shown:
        if found.id not in document.indexes:
            document.indexes[found.id] = self._numbers.next_index()
        return Shown(document.indexes[found.id], found, inside, document, found.id)

    async def find(self, index: int) -> ElementHandle | None:
        """The element with this number, if it is there and still is what was shown."""
        from playwright.async_api import Error

        shown = self._shown.get(index)
        if shown is None:
            return None
        try:
            script = shown.document.script
            told = await script.evaluate(_CALL_DESCRIBE, shown.local_id)
            if told is None or Look.model_validate(told).identity != shown.look.identity:
                return None
            return (await script.evaluate_handle(_CALL_ELEMENT, shown.local_id)).as_element()
        except Error:
            return None

    def look_of(self, index: int) -> Look | None:
        """How the element was shown."""
        shown = self._shown.get(index)
        return shown.look if shown else None


@dataclass(slots=True)
class Numbers:
    """Gives every number once. ``highest`` is the last index given."""

    highest: int = 0
    generation: int = 0

    def next_index(self) -> int:
        self.highest += 1
        return self.highest

    def next_generation(self) -> int:
        self.generation += 1
        return self.generation


@dataclass(slots=True)
class _Walk:
    """What was found in the iframes so far."""

    shown: list[Shown]
    unlisted: int
    frames: int = 0
    skipped: int = 0


async def _uncovered(
    above: _Document, element: ElementHandle, points: Sequence[Point]
) -> list[bool]:
    if not points:
        return []
    options: dict[str, Any] = {"el": element, "points": [list(point) for point in points]}
    free = await above.script.evaluate(_CALL_UNCOVERED, options)
    return [bool(is_free) for is_free in free]


@functools.cache
def _index_script() -> str:
    return Path(__file__).with_name("index.js").read_text(encoding="utf-8")
