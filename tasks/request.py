"""What a run is asked to do: checked before anything starts, kept so that it can be resumed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from core.base import Value, as_stored
from core.errors import BadInputError, CorruptRecordError, RunNotFoundError
from core.plan import Plan
from core.result import FileRef
from core.run import RunOptions
from core.settings import PROJECT_ROOT
from tasks.check import check_plan, read_plan, with_vars
from tasks.services import Services

REQUEST_FILE = "request.json"


class RunRequest(Value):
    """Kept in the run's directory, so that any run can be resumed by its key.

    ``only_drafts`` marks the drafting of a plan that is not to be run, which is no run to resume.
    ``workflow`` is the flow that was asked; ``carried`` are the files taken over from
    ``options.files_of``.
    """

    goal: str
    plan: Plan | None
    options: RunOptions
    only_drafts: bool = False
    workflow: Literal["plan_and_run", "run_agent"] = "plan_and_run"
    carried: tuple[FileRef, ...] = ()


def prepare(
    services: Services,
    goal: str,
    plan: Plan | Path | None,
    options: RunOptions,
    new_key: str,
) -> tuple[str, RunRequest]:
    """The run's key and what it is to do, all of it checked.

    A run to resume keeps its own goal, plan and options, with the new budget if one is given.
    ``new_key`` is for a new run; if that run exists already (a retry of its flow run), it goes on.

    Raises:
        BadInputError: names what is wrong. Nothing was written.
    """
    home = services.settings.home
    key = find_run(home, options.resume_from) if options.resume_from else new_key
    if options.resume_from or (run_directory(home, key) / REQUEST_FILE).exists():
        saved = read_request(run_directory(home, key))
        if options.resume_from and saved.only_drafts:
            raise BadInputError(f"run {key} only drafted a plan; `manus run` runs it")
        budget = options.budget or saved.options.budget
        options = saved.options.model_copy(update={"budget": budget})
        request = saved.model_copy(update={"options": options})
    else:
        if options.files_of:
            options = options.model_copy(update={"files_of": find_run(home, options.files_of)})
        request = _new_request(goal, plan, options)
    services.router.check_route(options.model)
    if request.plan:
        check_plan(request.plan, services, options.model)
    return key, request


def _new_request(goal: str, plan: Plan | Path | None, options: RunOptions) -> RunRequest:
    if plan is None and not goal.strip():
        raise BadInputError("give a goal or a plan")
    inputs = tuple(str(PROJECT_ROOT / path) for path in options.inputs)
    check_inputs(inputs)
    options = options.model_copy(update={"inputs": inputs})
    loaded = read_plan(PROJECT_ROOT / plan) if isinstance(plan, Path) else plan
    if loaded:
        loaded = with_vars(loaded, options.vars)
        loaded = loaded.model_copy(update={"goal": goal or loaded.goal})
    elif options.vars:
        raise BadInputError("variables are for a plan's templates; a goal has none")
    goal = goal or (loaded.goal if loaded else "")
    return as_stored(RunRequest(goal=goal, plan=loaded, options=options))


def run_directory(home: Path, run_key: str) -> Path:
    return home / "runs" / run_key


def find_run(home: Path, name: str) -> str:
    """The key of the run whose key is or begins with ``name``.

    Raises:
        RunNotFoundError: none, or more than one.
    """
    runs = home / "runs"
    known = [p.name for p in runs.iterdir()] if runs.is_dir() else []
    found = sorted(n for n in known if n.startswith(name)) if name else []
    if len(found) == 1 or name in found:
        return name if name in found else found[0]
    if found:
        raise RunNotFoundError(f"run '{name}' is ambiguous: {', '.join(found[:5])}")
    raise RunNotFoundError(f"no run '{name}' in {runs}; `manus runs` lists them")


def read_request(directory: Path) -> RunRequest:
    """Raises RunNotFoundError if the run is not on this machine, CorruptRecordError if damaged."""
    path = directory / REQUEST_FILE
    if not path.is_file():
        raise RunNotFoundError(
            f"run {directory.name}: {path} is not here; a run goes on where its files are, and one "
            "that died before it was saved is begun anew with `manus run`"
        )
    try:
        return RunRequest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptRecordError(f"{path} is damaged: {error}") from error


def check_inputs(paths: tuple[str, ...]) -> None:
    """Raises BadInputError, naming it, for an input that is no readable file, or one too many."""
    names: set[str] = set()
    for path in paths:
        name = Path(path).name
        if name in names:
            raise BadInputError(f"input file {path}: another input is named '{name}' as well")
        names.add(name)
        if not Path(path).is_file() or not os.access(path, os.R_OK):
            raise BadInputError(f"input file {path}: no such readable file")
