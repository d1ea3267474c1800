"""The local worker: runs the deployments' flow runs in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.base import Value
from core.errors import EnvironmentUnusableError
from core.settings import PROJECT_ROOT, Settings
from gateway.server import ensure_server, point_prefect_at, server_status
from gateway.server_record import process_identity

WORK_POOL = "manus"
_STOP_SECONDS = 20.0
_FLOW_RUN_SECONDS = 15.0
_FLOW_RUN_ID = b"PREFECT__FLOW_RUN_ID="


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
    """Ends the worker's flow runs in good order, then the worker. Whether there was one.

    The worker itself would kill them at once: no report, and Running in the UI for good. Where
    there is no /proc to find them in, that is what happens, and ``manus resume`` marks them.
    """
    record = read_worker(settings)
    if record is None:
        return False
    children = _flow_run_processes(record)
    for child in children:
        child.end(signal.SIGTERM)
    _wait_for(children, _FLOW_RUN_SECONDS)
    os.kill(record.pid, signal.SIGTERM)
    if not _wait_for([record], _STOP_SECONDS):
        os.killpg(record.pid, signal.SIGKILL)
    for child in children:
        child.end(signal.SIGKILL)
    if children and server_status(settings).healthy:
        _mark(settings, [child.flow_run_id for child in children])
    return True


@dataclass(frozen=True, slots=True)
class _FlowRunProcess:
    """The process of a flow run, which leads a process group of its own."""

    pid: int
    identity: str | None
    flow_run_id: str

    @property
    def alive(self) -> bool:
        return process_identity(self.pid) == self.identity

    def end(self, number: signal.Signals) -> None:
        if self.alive:
            with suppress(ProcessLookupError):  # it ended this instant
                os.kill(self.pid, number)


def _flow_run_processes(worker: WorkerRecord) -> list[_FlowRunProcess]:
    found: list[_FlowRunProcess] = []
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        try:
            identity = process_identity(pid)
            parent = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
            if int(parent) != worker.pid:
                continue
            variables = (directory / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        named = [v.removeprefix(_FLOW_RUN_ID) for v in variables if v.startswith(_FLOW_RUN_ID)]
        found += [_FlowRunProcess(pid, identity, name.decode()) for name in named if identity]
    return found


def _wait_for(processes: Sequence[WorkerRecord | _FlowRunProcess], seconds: float) -> bool:
    """Whether all have ended in time."""
    deadline = time.monotonic() + seconds
    while any(process.alive for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _mark(settings: Settings, flow_run_ids: list[str]) -> None:
    """Says of those that could not say themselves how they ended."""
    point_prefect_at(ensure_server(settings), settings)
    from gateway.runs import mark_flow_runs_crashed

    message = "its process was ended with the worker; a run goes on with `manus resume`"
    asyncio.run(mark_flow_runs_crashed(flow_run_ids, message))
