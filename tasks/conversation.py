"""What was said before a run, and the files that were made meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.context import rough_tokens
from core.errors import BadInputError
from core.message import Message, assistant, user
from core.plan import DATA_DIRECTORY, Plan, PlanStep
from core.result import FileRef
from core.run import RunOptions, Utterance
from tasks.inputs import Brief, Upstream
from tools.step_files import write_bytes
from tools.workspace import StepDirectory, Workspace

if TYPE_CHECKING:  # a prompt is checked before Prefect is loaded
    from tasks.run import Run

ANSWER_STEP = "answer"
"""The one step of a run of a single agent."""
ANSWER_SECONDS = 3600.0
MAX_PROMPT_CHARS = 50_000
_TITLE_CHARS = 80


def single_step_plan(prompt: str, agent: str, options: RunOptions) -> Plan:
    """A plan whose one step has ``agent`` do what the prompt says.

    It is taken literally, so it counts as a model's: braces in a prompt are no templates.

    Raises:
        BadInputError: the prompt is too long for a step.
    """
    if len(prompt) > MAX_PROMPT_CHARS:
        raise BadInputError(
            f"the prompt has {len(prompt)} characters, at most {MAX_PROMPT_CHARS}; give the rest "
            "as an input file"
        )
    title = " ".join(prompt.split())[:_TITLE_CHARS]
    step = PlanStep(
        id=ANSWER_STEP,
        title=title,
        instructions=prompt,
        agent=agent,
        timeout_seconds=ANSWER_SECONDS,
    )
    return Plan(
        title=title,
        goal=prompt,
        author="model",
        summarize=False,
        steps=(step,),
        untrusted=any(u.untrusted for u in options.conversation),
    )


def messages_of(said: Iterable[Utterance]) -> tuple[Message, ...]:
    return tuple(user(u.text) if u.role == "user" else assistant(u.text) for u in said)


def newest_within(said: Sequence[Utterance], tokens: int) -> tuple[Utterance, ...]:
    """The end of a conversation, of at most so many tokens, beginning with the user's words."""
    kept: list[Utterance] = []
    for utterance, message in zip(reversed(said), reversed(messages_of(said)), strict=True):
        tokens -= rough_tokens(message)
        if tokens < 0:
            break
        kept.append(utterance)
    while kept and kept[-1].role != "user":
        kept.pop()
    return tuple(reversed(kept))


def from_outside(run: Run, step_id: str, briefs: tuple[Brief, ...]) -> Upstream:
    """All that a step gets beside its own text."""
    return Upstream(
        briefs=briefs,
        data=run.data,
        files=run.carried if step_id == ANSWER_STEP else (),
        conversation=run.options.conversation,
        trusts_data=run.options.trust_inputs,
    )


def carry_files(earlier: Path, workspace: Workspace) -> tuple[FileRef, ...]:
    """Copies what the agent of an earlier run left into the directory of this run's agent.

    The files that its caller gave come along too, but for those that are given anew.

    Args:
        earlier: the workspace of that run.
    """
    if not earlier.is_dir():
        return ()
    given = {p.name for p in workspace.data.iterdir()}
    for path in (earlier / DATA_DIRECTORY).iterdir():
        if path.name not in given:
            workspace.add_data_file(path)
    if not (earlier / ANSWER_STEP).is_dir():
        return ()
    source, target = StepDirectory(ANSWER_STEP, earlier, ()), workspace.step(ANSWER_STEP)
    files = source.list_files()
    for file in files:
        with source.opened(source.locate(file.path), os.O_RDONLY) as fd:
            executable = os.fstat(fd).st_mode & stat.S_IXUSR
            with open(fd, "rb", closefd=False) as opened:
                write_bytes(target, file.path, opened.read())
        if executable:
            (target.path / file.path).chmod(0o755)
    return files
