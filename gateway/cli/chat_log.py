"""A conversation on disk: one line of JSON per message and per answer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from core.base import Value
from core.errors import CorruptRecordError, RunLockedError
from core.run import Utterance


def _now() -> datetime:
    return datetime.now(UTC)


class Asked(Value):
    """A message, and the run that answers it. Written before that begins."""

    entry: Literal["asked"] = "asked"
    at: datetime = Field(default_factory=_now)
    run_key: str
    agent: str
    text: str


class Answered(Value):
    """How a message was answered: ``text`` is the answer, or the reason why there is none.

    ``files`` are absolute paths; ``cost_usd`` has the known prices only.
    """

    entry: Literal["answered"] = "answered"
    at: datetime = Field(default_factory=_now)
    run_key: str
    status: Literal["completed", "failed", "cancelled", "over_budget"]
    text: str
    files: tuple[str, ...] = ()
    model_calls: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0
    untrusted: bool = False


_ENTRY: TypeAdapter[Asked | Answered] = TypeAdapter(
    Annotated[Asked | Answered, Field(discriminator="entry")]
)


class ChatLog:
    """One session's entries, in order. Lines are appended whole; a torn last one never was."""

    def __init__(self, path: Path, file: int) -> None:
        self._file = file
        content = path.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        if torn:
            os.ftruncate(file, len(whole) + len(newline))
        try:
            self.entries = [_ENTRY.validate_json(line) for line in whole.splitlines()]
        except ValidationError as error:
            raise CorruptRecordError(f"{path} is damaged: {error}") from error

    def append(self, entry: Asked | Answered) -> None:
        os.write(self._file, entry.model_dump_json().encode() + b"\n")
        os.fsync(self._file)
        self.entries.append(entry)

    @property
    def asked(self) -> tuple[Asked, ...]:
        return tuple(e for e in self.entries if isinstance(e, Asked))

    @property
    def answers(self) -> dict[str, Answered]:
        """By the key of the run; of one that was resumed, the last."""
        return {e.run_key: e for e in self.entries if isinstance(e, Answered)}

    @property
    def unanswered(self) -> Asked | None:
        """The last message, where its answer was cut off by the end of the process."""
        last = self.entries[-1] if self.entries else None
        return last if isinstance(last, Asked) else None

    def conversation(self) -> tuple[Utterance, ...]:
        """What an agent is told of it."""
        said: list[Utterance] = []
        answers = self.answers
        for message in self.asked:
            if answer := answers.get(message.run_key):
                done = answer.status == "completed"
                text = answer.text if done else f"(no answer: {answer.status}: {answer.text})"
                said.append(Utterance(role="user", text=message.text))
                said.append(Utterance(role="assistant", text=text, untrusted=answer.untrusted))
        return tuple(said)


@contextmanager
def opened_chat(home: Path, session: str) -> Generator[ChatLog]:
    """The log of a session, new or to go on with, while no other process has it.

    Raises:
        RunLockedError: another process does.
        CorruptRecordError: a line of it is damaged.
    """
    path = home / "chats" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunLockedError(f"chat '{session}' is open in another process") from error
        yield ChatLog(path, file)
    finally:
        os.close(file)
