"""Runs as a process of its own above a command that has no process namespace to die with.

This file is passed to the interpreter as text, with the descriptor of its orders as argument, and
imports nothing of the project. Orphans of the command come to this process, a subreaper, so nothing
leaves its tree; when the command ends, or the runner dies, it kills all that is left.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_STARTED = 125


def main(orders: dict[str, Any]) -> NoReturn:
    signal.signal(signal.SIGTERM, leave)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # The runner may have died before its death could be noticed; then stdin is at its end as well.
    if os.getppid() != orders["runner"] or not os.read(0, 1):
        sys.exit(NOT_STARTED)
    child = os.fork()
    if child == 0:
        start(orders)
    try:
        code = wait_for(child)
    finally:
        kill_all()
    sys.exit(code)


def leave(number: int, _: object) -> NoReturn:
    """The first signal ends the wait; a runner of several threads dies, and signals, by threads."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def wait_for(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def kill_all() -> None:
    """Until no child is left: what loses its parent meanwhile becomes ours."""
    while True:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError):
        return found
    for child in map(int, children):
        found += [child, *descendants(child)]
    return found


def start(orders: dict[str, Any]) -> NoReturn:
    """In the child: gives up what it can and becomes the command."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        os.chdir(orders["directory"])
        for name, bound in orders["rlimits"].items():
            resource.setrlimit(getattr(resource, name), (bound, bound))
        if "sandlock" in orders:
            os._exit(run_sandlock(orders))
        if orders["user"] is not None:
            os.setgroups([])
            os.setresgid(*[orders["user"]] * 3)
            os.setresuid(*[orders["user"]] * 3)
        os.execve(orders["argv"][0], orders["argv"], orders["environment"])
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        os.write(2, f"sandbox: {error}\n".encode())
    os._exit(NOT_STARTED)


def run_sandlock(orders: dict[str, Any]) -> int:
    sys.path += orders["packages"]
    from sandlock import Sandbox

    return Sandbox(**orders["sandlock"]).run_interactive(orders["argv"])


with open(int(sys.argv[1]), encoding="utf-8") as file:
    given = json.load(file)
main(given)
