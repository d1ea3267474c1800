"""Processes that tests start and kill, as ``python -m tests.analytics.processes VERB …``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from analytics.compactor import Stage, compact
from analytics.segments import segments
from analytics.spool import SpoolWriter
from tests.analytics.rows import model_call

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts one of the verbs below; the caller ends it."""
    command = [sys.executable, "-m", "tests.analytics.processes", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> list[str]:
    """The whole lines not read yet, of a process that ends by itself or was killed."""
    assert process.stdout
    with process:
        # Not communicate(): it would skip what an earlier readline() left in the buffer.
        output = process.stdout.read()
    return [line for line in output.splitlines(keepends=True) if line.endswith("\n")]


def say(word: str) -> None:
    """One unbuffered write: what was said before a kill is heard."""
    os.write(1, f"{word}\n".encode())


def write(home: Path, prefix: str, rows: int, max_bytes: int = 4_000_000) -> None:
    """Emits rows, each acknowledged on standard output when ``emit`` has returned."""
    writer = SpoolWriter(home / "spool", max_bytes=max_bytes)
    for number in range(rows):
        writer.emit(model_call(f"{prefix}-{number}", input_tokens=1))
        say(f"{prefix}-{number}")
    writer.seal()


def compact_until_killed(home: Path) -> None:
    import duckdb

    assert duckdb.__version__
    say("ready")
    while True:
        compact(home)


def compact_and_die(home: Path, stage: str) -> None:
    def die(reached: Stage) -> None:
        if reached == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    compact(home, on_stage=die)


def fork_and_write(home: Path) -> None:
    """A parent and its child write with the same writer; the parent seals while the child lives."""
    writer = SpoolWriter(home / "spool")
    writer.emit(model_call("before"))
    parents = segments(home / "spool")[0]
    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go_read, 1)
        writer.emit(model_call("child"))
        os._exit(0)
    say("locked" if not parents.is_sealed() else "unlocked by the fork")
    writer.emit(model_call("parent"))
    writer.seal()
    say("sealed" if parents.is_sealed() else "held by the child")
    os.write(go_write, b".")
    os.waitpid(child, 0)


def main(verb: str, home: str, *arguments: str) -> None:
    place = Path(home)
    if verb == "write":
        write(place, arguments[0], *(int(a) for a in arguments[1:]))
    elif verb == "compact-until-killed":
        compact_until_killed(place)
    elif verb == "compact-and-die":
        compact_and_die(place, arguments[0])
    elif verb == "fork-and-write":
        fork_and_write(place)
    else:
        raise SystemExit(f"unknown verb {verb}")


if __name__ == "__main__":
    main(*sys.argv[1:])
