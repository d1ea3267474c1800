"""The local worker: runs the deployments' flow runs in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.base import Value
from core.errors import EnvironmentUnusableError
from core.settings import PROJECT_ROOT, Settings
from gateway.server_record import process_identity

WORK_POOL = "manus"
_STOP_SECONDS = 20.0


class WorkerRecord(Value):
    """Who runs. ``identity`` tells the process from a later one with its pid."""

    pid: int
    identity: str | None

    @property
    def alive(self) -> bool:
        return self.identity is not None and process_identity(self.pid) == self.identity


def _record_file(settings: Settings) -> Path:
    return settings.home / "prefect" / "worker.json"


def read_worker(settings: Settings) -> WorkerRecord | None:
    """The worker of this MANUS_HOME, if it lives."""
    file = _record_file(settings)
    if not file.exists():
        return None
    record = WorkerRecord.model_validate_json(file.read_bytes())
    return record if record.alive else None


def deploy() -> None:
    """Registers the work pool and the deployments of prefect.yaml; again is no harm.

    Raises:
        EnvironmentUnusableError: Prefect refused, with what it said.
    """
    _prefect("work-pool", "create", WORK_POOL, "--type", "process", "--overwrite")
    _prefect("deploy", "--all")


def _prefect(*arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise EnvironmentUnusableError(f"prefect {' '.join(arguments)} failed:\n{said}")


def start_worker(settings: Settings) -> WorkerRecord:
    """Starts it in the background unless it runs; its log lies beside its record."""
    if running := read_worker(settings):
        return running
    log = _record_file(settings).with_suffix(".log")
    for place in (settings.home, log.parent):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL]
    environment = {**os.environ, "MANUS_HOME": str(settings.home)}
    environment.setdefault("PREFECT_WORKER_QUERY_SECONDS", "3")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = WorkerRecord(pid=process.pid, identity=process_identity(process.pid))
    _record_file(settings).write_text(record.model_dump_json(), encoding="utf-8")
    return record


def stop_worker(settings: Settings) -> bool:
    """Asks the worker to end (it ends its flow runs), then insists. Whether there was one."""
    record = read_worker(settings)
    if record is None:
        return False
    os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while record.alive and time.monotonic() < deadline:
        time.sleep(0.1)
    if record.alive:
        os.killpg(record.pid, signal.SIGKILL)
    return True
