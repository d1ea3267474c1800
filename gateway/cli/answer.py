"""``manus answer``: the questions that runs wait with, and answering them from a terminal."""

from __future__ import annotations

import asyncio
import json
import sys

from core.settings import load_settings
from gateway.cli.run import start_server


def answer_command(run: str | None, text: str | None, *, as_json: bool) -> None:
    """Lists the open questions, or answers one.

    Raises:
        RunNotFoundError, BadInputError: see ``gateway.questions.answer``.
    """
    start_server(load_settings())
    from gateway.questions import answer, open_questions

    if run is not None and text is not None:
        answered = asyncio.run(answer(run, text))
        said = answered.model_dump_json(indent=2) if as_json else f"answered: {text}"
        sys.stdout.write(f"{said}\n")
        return
    found = asyncio.run(open_questions())
    found = tuple(q for q in found if run is None or q.run_key.startswith(run))
    if as_json:
        sys.stdout.write(json.dumps([q.model_dump() for q in found], indent=2) + "\n")
        return
    for question in found:
        choices = f" [{' | '.join(question.choices)}]" if question.choices else ""
        sys.stdout.write(
            f"{question.text}\n\n    manus answer {question.run_key[:8]} ANSWER{choices}\n\n"
        )
    if not found:
        sys.stdout.write("no run waits for an answer\n")
