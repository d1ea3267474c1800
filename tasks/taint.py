"""Where strangers' words came into a run, for what no record of a completed step can tell.

A mark is an empty file ``private/<step>/untrusted-a<attempt>-t<turn>``, out of every sandbox's
reach. It is made before the words can arrive: whatever ends an attempt then, a failure, a passed
deadline or a kill, the files and notes that it leaves are known for what they may hold.
"""

from __future__ import annotations

import re
from pathlib import Path

from tasks.run import Position

_MARK = re.compile(r"untrusted-a(\d+)-t(-?\d+)")


def private_directory(run_directory: Path, step_id: str) -> Path:
    """What a run keeps of a step beside its workspace."""
    return run_directory / "private" / step_id


def mark(run_directory: Path, position: Position, turn: int) -> None:
    """Notes that the calls after ``turn`` are made with strangers' words in view. Idempotent."""
    private = private_directory(run_directory, position.step_id)
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    (private / f"untrusted-a{position.attempt}-t{turn}").touch(mode=0o600)


def first_turn(run_directory: Path, position: Position) -> int | None:
    """The first turn of this attempt that is marked."""
    marks = _marks(run_directory, position.step_id)
    return min((t for a, t in marks if a == position.attempt), default=None)


def is_tainted(run_directory: Path, step_id: str, *, before_attempt: int | None = None) -> bool:
    """Whether any attempt of the step is marked, or any before that one."""
    marks = _marks(run_directory, step_id)
    return any(before_attempt is None or a < before_attempt for a, _ in marks)


def _marks(run_directory: Path, step_id: str) -> list[tuple[int, int]]:
    """Attempts and turns."""
    private = private_directory(run_directory, step_id)
    names = [p.name for p in private.iterdir()] if private.is_dir() else []
    return [(int(m[1]), int(m[2])) for name in names if (m := _MARK.fullmatch(name))]
