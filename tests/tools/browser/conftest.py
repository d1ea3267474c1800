"""One Chromium for all tests, pages on loopback, and tabs of each test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import CDPSession, Page

from core.errors import EnvironmentUnusableError
from core.message import ImagePart, TextPart
from core.tool_settings import BrowserSettings, EgressSettings
from tests.fakes.web_pages import WebPages
from tools.base import BaseTool, ToolContext, ToolResult
from tools.browser.browser_use import BrowserUse
from tools.egress.policy import EgressPolicy
from tools.invoke import invoke
from tools.resources import Resources, Scopes, resources
from tools.workspace import Workspace

QUICK = BrowserSettings(action_timeout_seconds=4, navigation_timeout_seconds=15, download_mib=1)


@dataclass(slots=True)
class Browsing:
    """A step that browses. ``serve`` sets a page and gives its address."""

    tool: BrowserUse
    pages: WebPages
    last: ToolResult = field(default_factory=ToolResult)

    async def call(self, action: str, **arguments: Any) -> ToolResult:
        self.last = await invoke(self.tool, {"action": action, **arguments})
        return self.last

    async def do(self, action: str, **arguments: Any) -> str:
        """A call that must not fail; what the model sees of the page after it."""
        result = await self.call(action, **arguments)
        assert result.error is None, result.error
        return self.state

    async def show(self, body: str, path: str = "/page") -> str:
        return await self.do("go_to_url", url=self.pages.serve(path, body))

    async def until(self, text: str) -> str:
        """The states until ``text`` is in one: pages do some things in their own time."""
        seen = self.state
        for _ in range(40):
            if text in seen:
                return seen
            await asyncio.sleep(0.1)
            seen += "\n" + await self.do("wait", seconds=0)
        raise AssertionError(f"{text!r} not in:\n{seen}")

    async def page(self) -> Page:
        """What the tool works on."""
        session = await self.tool._session()  # pyright: ignore[reportPrivateUsage]
        return (await session.tab()).page

    @property
    def state(self) -> str:
        return "\n".join(p.text for p in self.last.state if isinstance(p, TextPart))

    @property
    def images(self) -> list[ImagePart]:
        return [p for p in self.last.state if isinstance(p, ImagePart)]

    def index(self, text: str) -> int:
        """The number in front of the first element whose line holds ``text``."""
        for line in self.state.splitlines():
            if line.startswith("[") and text in line:
                return int(line[1 : line.index("]")])
        raise AssertionError(f"no element with {text!r} in:\n{self.state}")

    @property
    def files(self) -> dict[str, bytes]:
        directory = self.tool.context.directory
        return {f.path: (directory.path / f.path).read_bytes() for f in directory.list_files()}


@pytest.fixture(scope="session")
def pages() -> Any:
    with WebPages() as served:
        yield served


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def process() -> AsyncGenerator[Resources]:
    """Holds the one browser."""
    async with resources() as scope:
        yield scope


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_works(
    process: Resources, pages: WebPages, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Skips every test where the machine has no browser."""
    directory = Workspace(tmp_path_factory.mktemp("probe")).step("probe")
    async with resources() as step:
        context = ToolContext(directory, scopes=Scopes(step=step, process=process))
        tool = BrowserUse(QUICK, _only(pages)).bind(context)
        try:
            await tool.execute("wait", seconds=0)
        except EnvironmentUnusableError as error:
            pytest.skip(str(error))


def _only(pages: WebPages) -> EgressPolicy:
    return EgressPolicy(EgressSettings(allow_hosts=(pages.host,)))


Begin = Callable[..., Browsing]


@pytest_asyncio.fixture(loop_scope="session")
async def begin(
    chromium_works: None, process: Resources, pages: WebPages, tmp_path: Path
) -> AsyncGenerator[Begin]:
    """Begins a step; ``private`` keeps what a second one goes on from."""
    directory = Workspace(tmp_path / "workspace").step("own")
    async with resources() as step:

        def begun(
            settings: BrowserSettings = QUICK,
            search: BaseTool | None = None,
            **context: Any,
        ) -> Browsing:
            tool = BrowserUse(settings, _only(pages), search)
            base = ToolContext(directory, scopes=Scopes(step=step, process=process))
            return Browsing(tool.bind(replace(base, **context)), pages)

        yield begun


@pytest.fixture
def browsing(begin: Begin) -> Browsing:
    return begin()


async def send_fatal(session: CDPSession, command: str) -> None:
    """A command that nobody answers, since it ends who would."""
    sending = asyncio.ensure_future(session.send(command))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]
    await asyncio.wait([sending], timeout=2)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]
    sending.cancel()  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]
    await asyncio.gather(sending, return_exceptions=True)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]
