"""Opens a run: a new one, or one to go on with after a crash, a failure or a cancel."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from core.plan import DATA_DIRECTORY
from tasks.budget import BudgetMeter
from tasks.conversation import carry_files
from tasks.deadline import StepSlots
from tasks.journal import Journal
from tasks.lease import RunLease
from tasks.recovery import recall
from tasks.request import REQUEST_FILE, RunRequest, run_directory
from tasks.run import Run, entered
from tasks.services import Services
from tasks.store import RecordStorage, check_records, open_store
from tools.resources import resources
from tools.workspace import StepDirectory, Workspace


@asynccontextmanager
async def opened(
    services: Services, request: RunRequest, run_key: str, flow_run_id: str
) -> AsyncGenerator[Run]:
    """The run, with its lease held until the end.

    Raises:
        RunLockedError: another process works on it.
        CorruptRecordError: a record of it is damaged.
    """
    directory = run_directory(services.settings.home, run_key)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lease = RunLease(directory)
    try:
        results = services.settings.home / "results"
        storage = services.storage or RecordStorage(basepath=str(results))
        check_records(storage, run_key)
        last_seen = _last_trace(directory, storage, run_key)
        request, workspace = _workspace(directory, request)
        journal = Journal(directory / "journal.jsonl")
        worked = journal.open_run(time.time(), last_seen)
        budget = request.options.budget or services.settings.run.budget
        run = Run(
            key=run_key,
            flow_run_id=flow_run_id,
            directory=directory,
            options=request.options,
            services=services,
            store=open_store(storage),
            journal=journal,
            meter=BudgetMeter(budget, wall_before=worked),
            workspace=workspace,
            workflow=request.workflow,
            carried=request.carried,
            data=StepDirectory(DATA_DIRECTORY, workspace.root, ()).list_files(),
            slots=StepSlots(
                request.options.max_parallel_steps or services.settings.run.max_parallel_steps
            ),
        )
        try:
            recall(run, storage)
            async with resources() as scope:
                with entered(replace(run, resources=scope)) as present:
                    yield present
        finally:
            run.journal.close()
    finally:
        lease.release()


def _last_trace(directory: Path, storage: RecordStorage, run_key: str) -> float:
    """When this run was last worked on, in seconds since 1970; 0 for a new one.

    To be asked before the journal is opened, which counts as a trace.
    """
    traces = [directory / "journal.jsonl", directory / "report.json", *storage.files(run_key)]
    return max((path.stat().st_mtime for path in traces if path.is_file()), default=0.0)


def _workspace(directory: Path, request: RunRequest) -> tuple[RunRequest, Workspace]:
    """The run's directory tree; a new run's gets the caller's files, then the request is saved."""
    for stale in ("report.json", "report.md"):  # of an earlier end; this is a new beginning
        (directory / stale).unlink(missing_ok=True)
    if (directory / REQUEST_FILE).exists():
        return request, Workspace(directory / "workspace")
    # Whatever is there was left by a process that died before the request was saved.
    shutil.rmtree(directory / "workspace", ignore_errors=True)
    workspace = Workspace(directory / "workspace")
    for path in request.options.inputs:
        workspace.add_data_file(Path(path))
    if earlier := request.options.files_of:
        carried = carry_files(directory.parent / earlier / "workspace", workspace)
        request = request.model_copy(update={"carried": carried})
    write_file(directory / REQUEST_FILE, request.model_dump_json(indent=2))
    return request, workspace


def write_file(path: Path, content: str) -> None:
    """Writes a file of the run's directory whole: temporary name, sync, rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
