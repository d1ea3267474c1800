"""Where finished steps are kept that later runs may take over.

::

    cache/steps/ab/<key>.json    one kept step
    cache/files/ab/<sha256>      the content of one file, for all steps that left it
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from core.base import Value
from core.errors import ToolFailedError
from core.provider_settings import CacheSettings
from core.result import FileRef, ReusedFrom, Spend, StepResult
from providers.file_shelf import FileShelf
from tools.step_files import read_bytes, write_bytes
from tools.workspace import StepDirectory


class KeptStep(Value):
    """One completed step. ``executables`` are the paths of its files that may be executed."""

    schema_version: Literal[1] = 1
    key: str
    namespace: str
    route: str
    deployments: tuple[str, ...]
    run_key: str
    completed_at: datetime
    result: StepResult
    executables: tuple[str, ...] = ()

    def taken_over(self, attempt: int) -> StepResult:
        """The result as that of another run's attempt, which spends nothing on it."""
        age = datetime.now(UTC) - self.completed_at
        origin = ReusedFrom(
            run_key=self.run_key,
            completed_at=self.completed_at,
            age_seconds=max(0.0, age.total_seconds()),
            spend=self.result.spend,
        )
        changes = {"attempt": attempt, "spend": Spend(), "reused_from": origin}
        return self.result.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class StepIdentity:
    """What decides a step. ``key`` is 64 hex digits."""

    key: str
    route: str
    deployments: tuple[str, ...]


class StepCache:
    """Kept steps below ``folder``. Its methods block, and may raise OSError."""

    def __init__(self, folder: Path, settings: CacheSettings) -> None:
        self.namespace = settings.namespace
        self.steps = FileShelf(folder / "steps", settings.max_mib * 2**20, suffix=".json")
        self.files = FileShelf(folder / "files", settings.max_files_mib * 2**20)

    def find(self, key: str, ttl_seconds: float | None) -> KeptStep | None:
        """The kept step with all its files there, at most so old (``None``: however old)."""
        content = self.steps.read(key)
        kept = read_kept_step(content, key) if content is not None else None
        if kept is None or not all(self.files.has(f.sha256) for f in kept.result.files):
            return None
        now = datetime.now(UTC)
        if ttl_seconds is not None and now - kept.completed_at >= timedelta(seconds=ttl_seconds):
            return None
        return kept

    def keep(
        self, identity: StepIdentity, run_key: str, result: StepResult, directory: StepDirectory
    ) -> None:
        """Keeps a step that was just completed in ``directory``.

        Raises:
            ToolFailedError: a file is larger than 50 MB, or has changed since; nothing is kept.
        """
        executables: list[str] = []
        for file in result.files:
            content = _checked(read_bytes(directory, file.path), file)
            if (directory.path / file.path).lstat().st_mode & stat.S_IXUSR:
                executables.append(file.path)
            if not self.files.has(file.sha256):
                self.files.write(file.sha256, content)
        kept = KeptStep(
            key=identity.key,
            namespace=self.namespace,
            route=identity.route,
            deployments=identity.deployments,
            run_key=run_key,
            completed_at=datetime.now(UTC),
            result=result,
            executables=tuple(executables),
        )
        self.steps.write(identity.key, kept.model_dump_json().encode())

    def restore(self, kept: KeptStep, directory: StepDirectory) -> None:
        """Copies the files into another run's directory of the step, each checked. Idempotent.

        Raises:
            ToolFailedError: one is gone or damaged; a damaged one is removed.
        """
        for file in kept.result.files:
            content = self.files.read(file.sha256)
            if content is None:
                raise ToolFailedError(f"{file.path}: its content is no longer kept")
            try:
                write_bytes(directory, file.path, _checked(content, file))
            except ToolFailedError:
                self.files.remove(file.sha256)
                raise
        for path in kept.executables:
            (directory.path / path).chmod(0o755)


def read_kept_step(content: bytes, key: str) -> KeptStep | None:
    """The kept step, ``None`` where the content is damaged or another version's."""
    try:
        kept = KeptStep.model_validate_json(content)
    except ValidationError:
        return None
    return kept if kept.key == key else None


def _checked(content: bytes, file: FileRef) -> bytes:
    if sha256(content).hexdigest() != file.sha256:
        raise ToolFailedError(f"{file.path}: not the content that the step left")
    return content
