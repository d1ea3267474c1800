"""A run's directory tree: one directory per step beside ``data``, the files the caller gave.

::

    <root>/data/          read-only for every step
    <root>/<step id>/     the step's own: its working directory, read-write for it alone

A step reads ``../data/x`` and ``../<step it depends on>/x``. The layout and therefore relative
paths are the same in every sandbox; bubblewrap shows the root as ``/workspace``.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
from collections.abc import Generator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from core.errors import BadInputError, ToolFailedError
from core.plan import DATA_DIRECTORY
from core.result import FileRef
from tools.confined import opened_beneath, opened_directory, require_plain_file

MOUNT_POINT = "/workspace"
SANDBOX_UID = 60_777
"""Who sandboxed code is when we are root: in a range that Debian and systemd leave unassigned."""

BOOKKEEPING_PREFIX = ".manus"


class FileState(NamedTuple):
    """What changes when a file's content does; the change time cannot be set back."""

    path: str
    inode: int
    size_bytes: int
    changed_ns: int


DigestCache = MutableMapping[FileState, str]


class Place(NamedTuple):
    """A path a model gave, taken apart. ``name`` is the directory beside which steps live."""

    name: str
    relative: str
    writable: bool
    shown: str


@dataclass(frozen=True, slots=True)
class StepDirectory:
    """One step's view of the workspace.

    ``readable`` names the directories it may read beside its own. ``owner`` is the uid files
    written by the host are given to, so that sandboxed code may change them. ``by_component``
    resolves paths without openat2, as on systems that lack it.
    """

    step_id: str
    root: Path
    readable: tuple[str, ...]
    owner: int | None = None
    by_component: bool = False

    @property
    def path(self) -> Path:
        return self.root / self.step_id

    def locate(self, path: str) -> Place:
        """Takes a path relative to the step's directory, below ``/workspace`` or below the root.

        Raises:
            ToolFailedError: it leaves what this step may read.
        """
        if not path or "\0" in path:
            raise ToolFailedError(f"{path!r}: not a path")
        for prefix in (MOUNT_POINT, str(self.root)):
            if path == prefix or path.startswith(prefix + "/"):
                path = "../" + path.removeprefix(prefix).lstrip("/")
        if path.startswith("/"):
            raise self._outside(path)
        # Links are never followed, so resolving ".." in the text is exact.
        joined = posixpath.normpath(posixpath.join(self.step_id, path))
        name, _, relative = joined.partition("/")
        if name not in (self.step_id, *self.readable):
            raise self._outside(path)
        return Place(name, relative or ".", name == self.step_id, path)

    def _outside(self, path: str) -> ToolFailedError:
        beside = ", ".join(f"../{name}" for name in self.readable)
        return ToolFailedError(
            f"{path}: not in this step's workspace; use a path relative to the working directory"
            + (f", or one below {beside}" if beside else "")
        )

    @contextmanager
    def opened(self, place: Place, flags: int) -> Generator[int]:
        """Opens a place, confined to its directory; system errors become answers to the model."""
        with (
            told_to_model(place.shown),
            opened_directory(self.root / place.name) as top,
            opened_beneath(top, place.relative, flags, by_component=self.by_component) as fd,
        ):
            yield fd

    def list_files(self, cache: DigestCache | None = None) -> tuple[FileRef, ...]:
        """The step's regular files by path; no ``.manus*`` bookkeeping.

        Left out as well: links, files with several hard links, FIFOs, and names that are not
        UTF-8. With a ``cache``, which is added to, only new and changed files are read.
        """
        cache = {} if cache is None else cache
        with opened_directory(self.path) as top:
            found = sorted(plain_files(top))
            return tuple(_reference(top, state, cache) for state in found)


class Workspace:
    """The tree of one run below ``root``, made on first use.

    Args:
        root: an absolute path of a directory that nobody else writes to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._owner = SANDBOX_UID if os.geteuid() == 0 else None
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # As root, the sandbox's user passes through to its own directory; above it is closed.
        self.root.chmod(0o700 if self._owner is None else 0o711)
        self.data.mkdir(exist_ok=True)
        self.data.chmod(0o700 if self._owner is None else 0o755)

    @property
    def data(self) -> Path:
        return self.root / DATA_DIRECTORY

    def step(self, step_id: str, depends_on: Sequence[str] = ()) -> StepDirectory:
        """The step's directory, created where it is missing."""
        directory = StepDirectory(step_id, self.root, (DATA_DIRECTORY, *depends_on), self._owner)
        directory.path.mkdir(exist_ok=True, mode=0o700)
        if self._owner is not None:
            os.chown(directory.path, self._owner, self._owner, follow_symlinks=False)
        return directory

    def add_data_file(self, source: Path) -> FileRef:
        """Copies a file of the caller's to ``data``; the reference's path is as a step sees it.

        Raises:
            BadInputError: no such file, or another file of this name was added before.
        """
        if not source.is_file():
            raise BadInputError(f"{source}: not a file")
        target = self.data / source.name
        try:
            with source.open("rb") as original, target.open("xb") as copy:
                shutil.copyfileobj(original, copy)
        except FileExistsError as error:
            raise BadInputError(f"{source}: a data file named '{source.name}' exists") from error
        target.chmod(0o600 if self._owner is None else 0o644)
        with target.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        path = f"../{DATA_DIRECTORY}/{source.name}"
        return FileRef(path=path, size_bytes=target.stat().st_size, sha256=digest)


@contextmanager
def told_to_model(shown: str) -> Generator[None]:
    """Turns the errors of file access into answers to the model, naming the path it gave."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            reason = "symbolic links are not followed"
        raise ToolFailedError(f"{shown}: {reason}") from error


def plain_files(directory: int, prefix: str = "") -> Generator[FileState]:
    """Every file below an open directory that ``list_files`` would list, in no order."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(BOOKKEEPING_PREFIX) or not _is_text(entry.name):
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                path = prefix + entry.name
                yield FileState(path, status.st_ino, status.st_size, status.st_ctime_ns)
            elif stat.S_ISDIR(status.st_mode):
                flags = os.O_RDONLY | os.O_DIRECTORY
                with opened_beneath(directory, entry.name, flags) as below:
                    yield from plain_files(below, f"{prefix}{entry.name}/")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reference(top: int, state: FileState, cache: DigestCache) -> FileRef:
    if state not in cache:
        with opened_beneath(top, state.path, os.O_RDONLY) as fd, open(fd, "rb", closefd=False) as f:
            require_plain_file(fd, state.path)
            cache[state] = file_digest(f, "sha256").hexdigest()
    return FileRef(path=state.path, size_bytes=state.size_bytes, sha256=cache[state])
