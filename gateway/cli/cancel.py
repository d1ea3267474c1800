"""``manus cancel``: stops a run, in whatever process it is, and waits until it has ended."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING
from uuid import UUID

from core.errors import RunNotFoundError
from core.settings import Settings, load_settings
from gateway.cli.exits import Exit
from gateway.cli.run import say, start_server
from tasks.lease import is_held
from tasks.request import find_run, run_directory

if TYPE_CHECKING:
    from gateway.runs import RunProgress

PATIENCE_SECONDS = 15.0
"""For a run to end by itself; most take one or two. Then it is insisted on, see below."""
INSISTING_SECONDS = 60.0
ENDED = frozenset({"Cancelled", "Completed", "Failed", "Crashed", "TimedOut"})
_POLL_SECONDS = 0.25


def cancel_command(name: str, *, as_json: bool) -> Exit:
    """Says how the run stands afterwards, also where it had ended before.

    Raises:
        RunNotFoundError: no run, or more than one, whose key begins with ``name``.
    """
    settings = load_settings()
    start_server(settings)
    run_key = _key_of(settings, name)
    progress = asyncio.run(cancelled(settings, run_key))
    if as_json:
        sys.stdout.write(progress.model_dump_json(indent=2, exclude={"steps"}) + "\n")
    elif progress.state in ENDED:
        sys.stdout.write(f"run {run_key}: {progress.state}\n{progress.message}\n")
    if progress.state in ENDED:
        return Exit.COMPLETED
    say(f"run {run_key} was told to stop, and did not: {progress.state}")
    return Exit.FAILED


def _key_of(settings: Settings, name: str) -> str:
    """A whole key needs no directory: a run that a worker has yet to begin has none."""
    try:
        return str(UUID(name))
    except ValueError:
        return find_run(settings.home, name)


async def cancelled(
    settings: Settings, run_key: str, patience_seconds: float = PATIENCE_SECONDS
) -> RunProgress:
    """Cancels the run and returns how it stands then. ``patience_seconds``: see its default."""
    from gateway.runs import cancel_run, insist_on_cancel

    if not await cancel_run(run_key):
        return await _progress(run_key)
    progress = await _ended(run_key, patience_seconds)
    if progress.state in ENDED:
        return progress
    directory = run_directory(settings.home, run_key)
    abandoned = directory.is_dir() and not is_held(directory)
    if not abandoned:
        say("it does not stop by itself; its worker is told to end the process")
    await insist_on_cancel(run_key, abandoned=abandoned)
    return await _ended(run_key, INSISTING_SECONDS)


async def _ended(run_key: str, seconds: float) -> RunProgress:
    """How the run stands when it has ended, or after ``seconds``."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    # What is waited for is on the server.
    while (progress := await _progress(run_key)).state not in ENDED:
        if loop.time() > deadline:
            break
        await asyncio.sleep(_POLL_SECONDS)
    return progress


async def _progress(run_key: str) -> RunProgress:
    from gateway.runs import read_progress

    progress = await read_progress(run_key)
    if progress is None:
        raise RunNotFoundError(f"run {run_key}: the Prefect server does not know it")
    return progress
