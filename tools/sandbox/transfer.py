"""A step's files as an archive, for a sandbox on another machine, and what comes back of them."""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import SandboxUnavailableError
from tools import step_files
from tools.confined import opened_beneath, opened_directory
from tools.workspace import BOOKKEEPING_PREFIX, StepDirectory, plain_files


@dataclass(frozen=True, slots=True)
class Returned:
    """What a remote command left beside the step's files, which have been written."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    disk_full: bool


def packed(directory: StepDirectory, stdin: bytes) -> bytes:
    """A tar of ``workspace/<directory>/…`` and ``stdin``. Links and special files are left out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "stdin", stdin)
        for name in (directory.step_id, *directory.readable):
            if (directory.root / name).is_dir():
                folder = tarfile.TarInfo(f"workspace/{name}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(folder)
                for path, content in _files(directory, name):
                    _add(archive, f"workspace/{name}/{path}", content)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _files(directory: StepDirectory, name: str) -> Iterator[tuple[str, bytes]]:
    with opened_directory(directory.root / name) as top:
        for state in plain_files(top):
            with (
                opened_beneath(top, state.path, os.O_RDONLY) as fd,
                open(fd, "rb", closefd=False) as f,
            ):
                yield state.path, f.read()


def unpacked(directory: StepDirectory, content: bytes) -> Returned:
    """Writes what changed, removes what is gone, and returns the rest.

    Of the archive, which a stranger's code may have made, only plain files below the step's
    directory are taken, and they are written as confined as any other tool's.

    Raises:
        SandboxUnavailableError: it is no archive, or the command's exit code is missing.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    found[posixpath.normpath(member.name)] = file.read()
        code = int(found["code"])
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise SandboxUnavailableError(f"the remote sandbox sent no result back: {error}") from error
    if "disk" not in found:
        _write_back(directory, found)
    return Returned(code, found.get("stdout", b""), found.get("stderr", b""), "disk" in found)


def _write_back(directory: StepDirectory, found: dict[str, bytes]) -> None:
    prefix = f"workspace/{directory.step_id}/"
    returned = {n.removeprefix(prefix): c for n, c in found.items() if n.startswith(prefix)}
    before = dict(_files(directory, directory.step_id))
    for path, content in returned.items():
        if before.get(path) != content:
            step_files.write_bytes(directory, path, content)
    for path in before.keys() - returned.keys():
        if not path.startswith(BOOKKEEPING_PREFIX):
            step_files.remove(directory, path)
