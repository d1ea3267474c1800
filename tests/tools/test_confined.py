import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import ToolFailedError
from tools.confined import (
    open_beneath,
    open_by_component,
    opened_directory,
    require_plain_file,
)

Opener = Callable[[int, str, int, int], int]


@pytest.fixture(params=[open_beneath, open_by_component], ids=["openat2", "by component"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.param


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "folder").mkdir(parents=True)
    (top / "folder" / "file").write_text("inside", encoding="utf-8")
    (tmp_path / "secret").write_text("outside", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("outside", encoding="utf-8")
    return top


def read(opener: Opener, top: Path, path: str) -> bytes:
    with opened_directory(top) as fd, open(opener(fd, path, os.O_RDONLY, 0), "rb") as file:
        return file.read()


def test_a_file_below_is_opened(opener: Opener, top: Path) -> None:
    assert read(opener, top, "folder/file") == b"inside"
    assert read(opener, top, "./folder//file") == b"inside"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "folder/file", "/proc/self/root"])
def test_a_link_is_never_followed(opener: Opener, top: Path, target: str) -> None:
    (top / "link").symlink_to(target)
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        read(opener, top, "link")


def test_a_link_on_the_way_is_never_followed(opener: Opener, top: Path) -> None:
    (top / "way").symlink_to("../folder")
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        read(opener, top, "way/file")


@pytest.mark.parametrize("path", ["../secret", "folder/../../secret", "/etc/passwd", "folder\0/x"])
def test_a_path_that_leaves_is_refused(top: Path, path: str) -> None:
    with opened_directory(top) as fd, pytest.raises(ValueError, match="path"):
        open_beneath(fd, path, os.O_RDONLY)


def test_a_fifo_neither_blocks_nor_passes(opener: Opener, top: Path) -> None:
    os.mkfifo(top / "pipe")
    with opened_directory(top) as directory:
        fd = opener(directory, "pipe", os.O_RDONLY | os.O_NONBLOCK, 0)
    with pytest.raises(ToolFailedError, match="not a regular file"):
        require_plain_file(fd, "pipe")
    os.close(fd)


def test_a_hard_link_is_refused(top: Path) -> None:
    os.link(top.parent / "secret", top / "same")
    with opened_directory(top) as directory:
        fd = open_beneath(directory, "same", os.O_RDONLY)
    with pytest.raises(ToolFailedError, match="hard links"):
        require_plain_file(fd, "same")
    os.close(fd)


def test_a_socket_cannot_be_opened(opener: Opener, top: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "s"))
        with pytest.raises(OSError, match="No such device"):
            read(opener, top, "s")
