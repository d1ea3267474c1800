"""A run's journal: what was begun, so that a resumed run knows what its records cannot tell.

Records (see ``tasks.store``) hold what is finished. The journal adds which attempt of a step is
the current one, which attempts ended badly, and which calls were in flight. One JSON object a
line, appended with a single write; a kill can tear the last line only, and reading passes over it.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from core.base import Value
from core.errors import CorruptRecordError


class AttemptBegun(Value):
    """``fingerprint`` covers the step and its inputs, ``setup`` the agent and the models."""

    entry: Literal["attempt_begun"] = "attempt_begun"
    step_id: str
    attempt: int
    fingerprint: str
    setup: str


class AttemptFailed(Value):
    """An honest bad end, which a replay would only repeat. Crashes and outages leave no entry."""

    entry: Literal["attempt_failed"] = "attempt_failed"
    step_id: str
    attempt: int
    reason: str


class CallBegun(Value):
    """A model call or tool run was about to start under this record key."""

    entry: Literal["call_begun"] = "call_begun"
    key: str
    kind: Literal["model", "tool"]
    request_hash: str


class CallFailed(Value):
    """The call begun last under this key failed and was accounted for; it is not in flight."""

    entry: Literal["call_failed"] = "call_failed"
    key: str


class ReuseBegun(Value):
    """The attempt is about to take over the step that is kept under ``key``, of another run."""

    entry: Literal["reuse_begun"] = "reuse_begun"
    step_id: str
    attempt: int
    key: str


class RunOpened(Value):
    """A process began to work on the run, at ``at`` (seconds since 1970).

    ``wall_before`` are the seconds that others had worked on it.
    """

    entry: Literal["run_opened"] = "run_opened"
    at: float
    wall_before: float


class QuestionPut(Value):
    """A question is about to be put to a person, by a pause of that flow run.

    ``key`` is of the answer's record.
    """

    entry: Literal["question_put"] = "question_put"
    key: str
    question_hash: str
    flow_run_id: str
    pause_key: str


class StepNote(Value):
    """What an agent noted on its step."""

    entry: Literal["step_note"] = "step_note"
    step_id: str
    text: str


Entry = Annotated[
    AttemptBegun
    | AttemptFailed
    | CallBegun
    | CallFailed
    | QuestionPut
    | ReuseBegun
    | RunOpened
    | StepNote,
    Field(discriminator="entry"),
]
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


class Journal:
    """Append-only; one process at a time writes it (the run's lease sees to that)."""

    def __init__(self, path: Path) -> None:
        """Reads what is there.

        Raises:
            CorruptRecordError: a line other than the last cannot be read.
        """
        self.path = path
        self._attempts: dict[str, AttemptBegun] = {}
        self._failed: set[tuple[str, int]] = set()
        self._calls: Counter[str] = Counter()
        self._notes: dict[str, list[str]] = {}
        self._opened: RunOpened | None = None
        self._reuses: dict[tuple[str, int], str] = {}
        self._questions: dict[str, QuestionPut] = {}
        whole = self._load()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, whole)

    def _load(self) -> int:
        """Replays the whole lines and returns their length in bytes."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._apply(_ENTRY.validate_json(line))
            except ValidationError as error:
                raise CorruptRecordError(f"{self.path}: line {number} is damaged") from error
        return len(whole)

    def append(self, entry: Entry) -> None:
        """Raises OSError, and leaves the file as it was, where the line does not fit."""
        line = (json.dumps(entry.model_dump(mode="json")) + "\n").encode()
        before = os.fstat(self._file).st_size
        written = os.write(self._file, line)
        if written < len(line):  # another line behind half of one would damage both
            os.ftruncate(self._file, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        match entry:
            case AttemptBegun():
                self._attempts[entry.step_id] = entry
            case AttemptFailed():
                self._failed.add((entry.step_id, entry.attempt))
            case CallBegun():
                self._calls[entry.key] += 1
            case CallFailed():
                self._calls[entry.key] -= 1
            case QuestionPut():
                self._questions[entry.key] = entry
            case ReuseBegun():
                self._reuses[entry.step_id, entry.attempt] = entry.key
            case RunOpened():
                self._opened = entry
            case StepNote():
                self._notes.setdefault(entry.step_id, []).append(entry.text)

    def open_run(self, now: float, last_seen: float) -> float:
        """Notes that a process begins to work, and returns the seconds that others have worked.

        ``last_seen`` is when the one before left its last trace. What it did after that is not
        known, and a process that only waited since then has worked no longer.
        """
        before = 0.0
        if self._opened:
            before = self._opened.wall_before + max(0.0, last_seen - self._opened.at)
        self.append(RunOpened(at=now, wall_before=before))
        return before

    def current_attempt(self, step_id: str, fingerprint: str) -> int | None:
        """The attempt to go on with: the last one, unless it failed or its inputs changed."""
        last = self._attempts.get(step_id)
        if last is None or last.fingerprint != fingerprint:
            return None
        return None if (step_id, last.attempt) in self._failed else last.attempt

    def begin_attempt(self, step_id: str, fingerprint: str, setup: str) -> int:
        """The number of the attempt to run now, from 1.

        An attempt that a crash cut short goes on under its number if its setup is still the same
        (its records answer the same questions then); else a new number is taken.
        """
        current = self.current_attempt(step_id, fingerprint)
        if current is not None and self._attempts[step_id].setup == setup:
            return current
        number = self.attempts(step_id) + 1
        self.append(
            AttemptBegun(step_id=step_id, attempt=number, fingerprint=fingerprint, setup=setup)
        )
        return number

    def attempts(self, step_id: str) -> int:
        """How many attempts were begun."""
        last = self._attempts.get(step_id)
        return last.attempt if last else 0

    def reuse_of(self, step_id: str, attempt: int) -> str | None:
        """The key of the kept step that the attempt takes over, if it does."""
        return self._reuses.get((step_id, attempt))

    def question_put(self, key: str) -> QuestionPut | None:
        """How the question was put last whose answer is to be recorded under ``key``."""
        return self._questions.get(key)

    def notes(self, step_id: str) -> tuple[str, ...]:
        """What agents noted on a step, oldest first."""
        return tuple(self._notes.get(step_id, ()))

    def in_flight(self, key: str) -> int:
        """How often the call under ``key`` was begun without an end.

        Where there is no record of it either, each was cut off with its process.
        """
        return self._calls[key]

    def close(self) -> None:
        os.close(self._file)
