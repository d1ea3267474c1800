"""Reading and changing files of a step on behalf of a model: confined, and written whole."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager

from core.errors import ToolFailedError
from tools.confined import open_by_component, require_plain, require_plain_file
from tools.workspace import BOOKKEEPING_PREFIX, Place, StepDirectory, told_to_model

MAX_READ_BYTES = 50_000_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def read_bytes(directory: StepDirectory, path: str, limit: int = MAX_READ_BYTES) -> bytes:
    """A whole file.

    Raises:
        ToolFailedError: outside, missing, not a plain file, or larger than ``limit`` bytes.
    """
    place = directory.locate(path)
    with directory.opened(place, os.O_RDONLY) as fd:
        status = require_plain_file(fd, path)
        if status.st_size > limit:
            raise ToolFailedError(f"{path}: {status.st_size} bytes, more than the {limit} allowed")
        with open(fd, "rb", closefd=False) as file:
            return file.read(limit)


def kind_of(directory: StepDirectory, path: str) -> str | None:
    """``file``, ``directory``, ``other`` (a link, too), or None where there is nothing."""
    status = _status(directory, path)
    if status is None:
        return None
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "file" if stat.S_ISREG(status.st_mode) else "other"


def size_of(directory: StepDirectory, path: str) -> int:
    """Bytes of a file.

    Raises:
        ToolFailedError: missing, or not a plain file.
    """
    status = _status(directory, path)
    if status is None:
        raise ToolFailedError(f"{path}: no such file")
    if stat.S_ISLNK(status.st_mode):
        raise ToolFailedError(f"{path}: symbolic links are not followed")
    require_plain(status, path)
    return status.st_size


def _status(directory: StepDirectory, path: str) -> os.stat_result | None:
    """Of the thing itself, without opening it: a FIFO or a device could act."""
    place = directory.locate(path)
    above, _, name = place.relative.rpartition("/")
    try:
        with directory.opened(place._replace(relative=above or "."), _DIRECTORY) as parent:
            return os.lstat(name, dir_fd=parent)
    except ToolFailedError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    except FileNotFoundError:
        return None


def write_bytes(directory: StepDirectory, path: str, content: bytes) -> None:
    """Replaces or creates a file in the step's own directory, whole, with missing parents.

    The permissions of a file that is replaced are kept.

    Raises:
        ToolFailedError: outside, read-only, a directory or a link, or the system refused.
    """
    place = _writable(directory, path)
    with _parent(directory, place, create=True) as (parent, name):
        mode = _replaceable_mode(parent, name, path)
        temporary = f"{BOOKKEEPING_PREFIX}-{secrets.token_hex(8)}"
        try:
            _write_new(parent, temporary, content, mode, directory.owner)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            _remove_if_there(parent, temporary)
            raise
        os.fsync(parent)


def remove(directory: StepDirectory, path: str) -> None:
    """Deletes a file, a link itself, or an empty directory of the step's own."""
    place = _writable(directory, path)
    with _parent(directory, place) as (parent, name):
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)


def move(directory: StepDirectory, source: str, target: str) -> None:
    """Renames within the step's own directory; an existing target is an error."""
    origin, goal = _writable(directory, source), _writable(directory, target)
    with (
        _parent(directory, origin) as (old_parent, old_name),
        _parent(directory, goal, create=True) as (new_parent, new_name),
    ):
        with told_to_model(source):
            os.lstat(old_name, dir_fd=old_parent)
        if _exists(new_parent, new_name):
            raise ToolFailedError(f"{target}: exists already")
        with told_to_model(f"{source} to {target}"):
            os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)


def _writable(directory: StepDirectory, path: str) -> Place:
    place = directory.locate(path)
    if not place.writable:
        raise ToolFailedError(f"{path}: read-only; write in the step's own directory")
    if place.relative == ".":
        raise ToolFailedError(f"{path}: is the step's directory itself")
    return place


@contextmanager
def _parent(
    directory: StepDirectory, place: Place, *, create: bool = False
) -> Generator[tuple[int, str]]:
    above, _, name = place.relative.rpartition("/")
    with told_to_model(place.shown):
        if create:
            _make_directories(directory, place, above)
        with directory.opened(place._replace(relative=above or "."), _DIRECTORY) as parent:
            yield parent, name


def _make_directories(directory: StepDirectory, place: Place, path: str) -> None:
    parts = [part for part in path.split("/") if part]
    for depth, name in enumerate(parts):
        above = place._replace(relative="/".join(parts[:depth]) or ".")
        with directory.opened(above, _DIRECTORY) as parent:
            if not _exists(parent, name):
                os.mkdir(name, 0o755, dir_fd=parent)
                _give(parent, name, directory.owner)


def _give(parent: int, name: str, owner: int | None) -> None:
    if owner is not None:
        os.chown(name, owner, owner, dir_fd=parent, follow_symlinks=False)


def _exists(parent: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


def _replaceable_mode(parent: int, name: str, shown: str) -> int:
    if not _exists(parent, name):
        return 0o644
    status = os.lstat(name, dir_fd=parent)
    if stat.S_ISLNK(status.st_mode):
        raise ToolFailedError(f"{shown}: symbolic links are not followed")
    require_plain(status, shown)
    return stat.S_IMODE(status.st_mode) & 0o777


def _write_new(parent: int, name: str, content: bytes, mode: int, owner: int | None) -> None:
    fd = open_by_component(parent, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(fd, mode)
        if owner is not None:
            os.fchown(fd, owner, owner)
        os.fsync(fd)


def _remove_if_there(parent: int, name: str) -> None:
    if _exists(parent, name):
        os.unlink(name, dir_fd=parent)


def names_in(directory: StepDirectory, path: str) -> list[str]:
    """Sorted names in a directory; none where it does not exist."""
    place = directory.locate(path)
    if kind_of(directory, path) is None:
        return []
    with directory.opened(place, _DIRECTORY) as fd:
        return sorted(os.listdir(fd))
