from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.errors import RunLockedError
from tasks.lease import RunLease, is_held

_HOLD = """
import sys, time
from pathlib import Path
from tasks.lease import RunLease
lease = RunLease(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    lease = RunLease(tmp_path)
    assert is_held(tmp_path)
    with pytest.raises(RunLockedError, match=f"process {os.getpid()}"):
        RunLease(tmp_path)
    lease.release()
    assert not is_held(tmp_path)
    RunLease(tmp_path).release()


def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_held(tmp_path)


def test_a_look_at_the_lease_does_not_keep_anyone_from_taking_it(tmp_path: Path) -> None:
    RunLease(tmp_path).release()
    with (tmp_path / "lease").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_held(tmp_path)
        threading.Timer(0.03, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        RunLease(tmp_path).release()
