"""No file tool leaves the workspace, whatever lies in it and however it changes meanwhile."""

import asyncio
import ctypes
import functools
import itertools
import os
import stat
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core.base import JsonObject
from core.errors import EnvironmentUnusableError
from tools.base import ToolContext, ToolResult
from tools.invoke import invoke
from tools.registry import ToolRegistry, default_registry
from tools.sandbox.base import Sandbox
from tools.workspace import StepDirectory, Workspace

SECRET = "canary-5b1d2f"
RACES = 60
FILES = ("secret.txt", "chart.csv", "charts.json")

CALLS: dict[str, Callable[[str], JsonObject]] = {
    "read_file": lambda path: {"path": path},
    "write_file": lambda path: {"path": path, "content": "hacked"},
    "list_files": lambda path: {"path": path},
    "search_files": lambda path: {"text": "canary", "path": path},
    "move_file": lambda path: {"source": path, "target": "moved"},
    "move_file onto": lambda path: {"source": "plain", "target": path},
    "delete_file": lambda path: {"path": path},
    "see_image": lambda path: {"path": path},
    "str_replace_editor view": lambda path: {"path": path},
    "str_replace_editor create": lambda path: {"path": path, "file_text": "hacked"},
    "str_replace_editor str_replace": lambda path: {
        "path": path,
        "old_str": SECRET,
        "new_str": "hacked",
    },
    "str_replace_editor insert": lambda path: {
        "path": path,
        "insert_line": 0,
        "insert_text": "hacked",
    },
    "str_replace_editor undo_edit": lambda path: {"path": path},
    "data_visualization": lambda path: {"json_path": path},
    "data_visualization file": lambda path: {"spec": {"mark": "bar"}, "data_file": path},
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A step's directory and, outside of what it may see, a file and a folder with a secret."""

    directory: StepDirectory
    outside: Path

    @property
    def state(self) -> dict[str, tuple[bytes, int]]:
        """Everything outside, by path: its content and its change time."""
        return {
            str(path.relative_to(self.outside)): (
                path.read_bytes() if path.is_file() else b"",
                path.stat().st_mtime_ns,
            )
            for path in [self.outside, *self.outside.rglob("*")]
        }

    async def call(self, name: str, path: str) -> ToolResult:
        tool_name, _, command = name.partition(" ")
        arguments = CALLS[name](path)
        if tool_name == "str_replace_editor":
            arguments["command"] = command
        tool = tools().get(tool_name).bind(ToolContext(self.directory))
        try:
            return await invoke(tool, arguments)
        except EnvironmentUnusableError as error:  # the files passed, and no sandbox is given here
            return ToolResult(error=str(error))


Stage = Callable[[str], Scene]
"""Makes the scene of a name, all of them alike."""


@functools.cache
def tools() -> ToolRegistry:
    return default_registry()


@pytest.fixture(params=[False, True], ids=["openat2", "by component"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    def make(name: str) -> Scene:
        outside = tmp_path / name / "outside"
        outside.mkdir(parents=True)
        for file in FILES:
            (outside / file).write_text(f"{SECRET}\n", encoding="utf-8")
        directory = Workspace(tmp_path / name / "workspace").step("own")
        (directory.path / "plain").write_text("plain", encoding="utf-8")
        return Scene(replace(directory, by_component=request.param), outside)

    return make


def way_up(scene: Scene, name: str) -> str:
    return f"../../{scene.outside.name}/{name}"


def linked_file(scene: Scene, name: str) -> str:
    (scene.directory.path / "link").symlink_to(scene.outside / name)
    return "link"


def linked_folder(scene: Scene, name: str) -> str:
    (scene.directory.path / "folder").symlink_to(scene.outside)
    return f"folder/{name}"


def link_in_a_folder(scene: Scene, name: str) -> str:
    (scene.directory.path / "a/b").mkdir(parents=True)
    (scene.directory.path / "a/b/link").symlink_to(f"../../../../outside/{name}")
    return "a/b/link"


def link_to_a_link(scene: Scene, name: str) -> str:
    (scene.directory.path / "first").symlink_to("second")
    (scene.directory.path / "second").symlink_to(scene.outside / name)
    return "first"


def hard_link(scene: Scene, name: str) -> str:
    os.link(scene.outside / name, scene.directory.path / "same.csv")
    return "same.csv"


def magic_link(scene: Scene, name: str) -> str:
    (scene.directory.path / "self").symlink_to("/proc/self/root")
    return f"self{scene.outside}/{name}"


PLACES: list[Callable[[Scene, str], str]] = [
    way_up,
    lambda scene, name: str(scene.outside / name),
    lambda scene, name: f"/workspace/../outside/{name}",
    lambda scene, name: f"/proc/self/root{scene.outside}/{name}",
    lambda scene, name: f"plain/../../../outside/{name}",
    lambda scene, name: f"../../outside/{name}\0.txt",
    linked_file,
    linked_folder,
    link_in_a_folder,
    link_to_a_link,
    hard_link,
    magic_link,
]
NAMES = (
    *("dots", "absolute", "below the mount", "proc", "dots after a file", "NUL"),
    *("link", "folder", "deep link", "two links", "hard link", "magic link"),
)


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
async def test_nothing_outside_is_read_or_changed(
    stage: Stage, place: Callable[[Scene, str], str]
) -> None:
    targets = ["secret.txt"] if place is hard_link else ["secret.txt", "."]
    for name, file in itertools.product(CALLS, targets):
        scene = stage(f"{name} {len(file)}")
        before = scene.state
        result = await scene.call(name, place(scene, file))
        assert scene.state == before, name
        assert SECRET not in result.model_dump_json(), name
        assert "needs a sandbox" not in result.text, name
        if name in ("list_files", "search_files"):
            assert "charts.json" not in result.text, name
        else:
            assert result.is_error or name in ("move_file", "delete_file"), name


async def test_what_is_no_file_neither_blocks_nor_acts(stage: Stage) -> None:
    for name in CALLS:
        scene = stage(name)
        os.mkfifo(scene.directory.path / "pipe.csv")
        async with asyncio.timeout(20):
            await scene.call(name, "pipe.csv")


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device needs root")
async def test_a_device_is_not_read(stage: Stage) -> None:
    for name in CALLS:
        scene = stage(name)
        try:
            device = scene.directory.path / "zero.csv"
            os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("this machine makes no devices")
        async with asyncio.timeout(20):
            result = await scene.call(name, "zero.csv")
        assert "\0" not in result.output


@contextmanager
def swapping(scene: Scene) -> Generator[None]:
    """A thread that makes ``way`` a folder and a link to the outside in turn, without a gap."""
    way, link = scene.directory.path / "way", scene.directory.path / "link"
    way.mkdir()
    for name in FILES:
        (way / name).write_text("inside", encoding="utf-8")
    link.symlink_to(scene.outside)
    stop = threading.Event()
    exchange = ctypes.CDLL(None, use_errno=True).renameat2
    here, both, swap = -100, (os.fsencode(way), os.fsencode(link)), 2
    if exchange(here, both[0], here, both[1], swap) != 0:
        pytest.skip("this file system cannot exchange two names")

    def run() -> None:
        while not stop.is_set():
            exchange(here, both[0], here, both[1], swap)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="names are exchanged by renameat2")
@pytest.mark.parametrize("name", list(CALLS))
async def test_a_folder_swapped_for_a_link_meanwhile_does_not_help(stage: Stage, name: str) -> None:
    scene = stage("race")
    before = scene.state
    with swapping(scene):
        for number in range(RACES):
            file = f"new-{number}" if "create" in name or "onto" in name else "secret.txt"
            result = await scene.call(name, f"way/{file}")
            assert SECRET not in result.model_dump_json()
            (scene.directory.path / "plain").touch()
    assert scene.state == before


@pytest.mark.skipif(sys.platform != "linux", reason="names are exchanged by renameat2")
async def test_nor_does_it_where_the_sandbox_opens_the_file(stage: Stage, sandbox: Sandbox) -> None:
    scene = stage("race")
    context = ToolContext(scene.directory, sandbox)
    tool = tools().get("data_visualization").bind(context)
    with swapping(scene):
        for _ in range(4):
            spec = {"mark": "bar", "encoding": {"x": {"field": "a", "type": "nominal"}}}
            result = await invoke(tool, {"spec": spec, "data_file": "way/chart.csv"})
            assert SECRET not in result.model_dump_json()
