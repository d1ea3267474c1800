"""Opening files beneath a directory, confined by the kernel rather than by a check before the fact.

Linux's openat2 resolves a path so that it can neither leave the directory nor pass a symbolic
link, however the tree changes meanwhile. Where it is missing (kernels before 5.6, other systems,
some container profiles) each component is opened with O_NOFOLLOW, which holds the same promise.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from core.errors import ToolFailedError

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(
    root: int, path: str, flags: int, mode: int = 0o600, *, by_component: bool = False
) -> int:
    """A descriptor for ``path`` below the directory ``root``; ``.`` is the directory itself.

    ``by_component`` does without openat2, as where it is missing.

    Raises:
        ValueError: a NUL byte, an absolute path, or a ``..`` component.
        OSError: as open(2); ELOOP for a symbolic link anywhere in the path.
    """
    if "\0" in path:
        raise ValueError("a path cannot contain a NUL byte")
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("the path leaves its directory")
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    flags |= os.O_NONBLOCK | os.O_NOCTTY
    if sys.platform == "linux" and not by_component:
        try:
            return _openat2(root, path, flags, mode)
        except OSError as error:
            # Container profiles older than openat2 answer EPERM for calls they do not know.
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
    return open_by_component(root, path, flags, mode)


def _openat2(root: int, path: str, flags: int, mode: int) -> int:
    how = _OpenHow(
        flags=flags,
        mode=mode if flags & os.O_CREAT else 0,
        resolve=_RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS,
    )
    call = _libc().syscall
    while True:
        fd = call(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(root),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        code = ctypes.get_errno()
        if fd >= 0:
            return fd
        # EAGAIN: a rename elsewhere raced with the resolution; the kernel asks to try again.
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code), path)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def open_by_component(root: int, path: str, flags: int, mode: int) -> int:
    """``open_beneath`` without openat2: one openat per component, none of which may be a link."""
    *parents, last = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    current = os.dup(root)
    try:
        for part in parents:
            following = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
        return os.open(last, flags | os.O_NOFOLLOW, mode, dir_fd=current)
    finally:
        os.close(current)


@contextmanager
def opened_directory(path: Path) -> Generator[int]:
    """A descriptor of a directory whose last component is not a link."""
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_beneath(
    root: int, path: str, flags: int, *, by_component: bool = False
) -> Generator[int]:
    fd = open_beneath(root, path, flags, by_component=by_component)
    try:
        yield fd
    finally:
        os.close(fd)


def require_plain_file(fd: int, shown: str) -> os.stat_result:
    """Refuses what opens but is no file of this directory alone.

    A FIFO or device would block or act; a second hard link may be someone else's file.

    Raises:
        ToolFailedError: names the path as the model knows it.
    """
    status = os.fstat(fd)
    require_plain(status, shown)
    return status


def require_plain(status: os.stat_result, shown: str) -> None:
    """``require_plain_file`` for what is not open."""
    if stat.S_ISDIR(status.st_mode):
        raise ToolFailedError(f"{shown}: is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ToolFailedError(f"{shown}: not a regular file")
    if status.st_nlink > 1:
        raise ToolFailedError(f"{shown}: has several hard links")
