"""What someone who chats sees: progress and questions on stderr, answers on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from decimal import Decimal

from core.errors import BadInputError, RunNotFoundError
from core.ports import Question
from gateway.cli.chat_input import LineReader
from gateway.cli.chat_log import Answered, ChatLog
from gateway.cli.run import say
from tasks.progress import Progress, QuestionAnswered, QuestionAsked, RunEvent


class ChatView:
    """Shows one session."""

    def __init__(self, session: str, reader: LineReader, *, as_json: bool) -> None:
        self.reader = reader
        self._session = session
        self._as_json = as_json
        self._asking: set[asyncio.Task[None]] = set()

    def listener(self, run_key: str) -> Callable[[RunEvent], None]:
        """Told of a run's events: a line per turn and tool; questions are put to the user."""

        def on_event(event: RunEvent) -> None:
            match event:
                case Progress(turn=int(turn)):
                    say(f"  turn {turn}")
                case Progress(tool=str(tool)):
                    say(f"  {tool}")
                case QuestionAsked(question=question) if self.reader.interactive:
                    asking = asyncio.get_running_loop().create_task(self._ask(run_key, question))
                    self._asking.add(asking)
                    asking.add_done_callback(self._asking.discard)
                case QuestionAnswered():
                    self.stop_asking()
                case QuestionAsked(question=question):
                    say(f"  {question.text}\n  `manus answer {run_key[:8]}` answers it")
                case _:
                    pass

        return on_event

    def stop_asking(self) -> None:
        """What is typed from now on is a message again, not an answer."""
        for asking in self._asking:
            asking.cancel()

    async def _ask(self, run_key: str, question: Question) -> None:
        from gateway.questions import answer

        choices = f" [{' / '.join(question.choices)}]" if question.choices else ""
        say(f"{question.text}{choices}")
        while (line := await self.reader.line("? ")) is not None:
            try:
                await answer(run_key, line)
            except BadInputError as error:
                say(str(error))
                if isinstance(error, RunNotFoundError):
                    return  # answered elsewhere, or too late
            else:
                return

    def show_answer(self, answered: Answered) -> None:
        if self._as_json:
            document = answered.model_dump(mode="json", exclude={"entry"})
            _print(json.dumps({"session": self._session, **document}, ensure_ascii=False))
        elif answered.status == "completed":
            _print("\n".join([answered.text, *(f"  {path}" for path in answered.files)]))
        else:
            say(f"{answered.status}: {answered.text}\nmanus resume {answered.run_key}")

    def show_files(self, log: ChatLog) -> None:
        """The files of the newest answer, which has those of the earlier ones too."""
        files = next((a.files for a in reversed(log.answers.values()) if a.files), ())
        _print("\n".join(files) or "no files yet")

    def show_cost(self, log: ChatLog) -> None:
        answers = log.answers.values()
        known = sum((a.cost_usd for a in answers), Decimal(0))
        calls, unknown = (
            sum(getattr(a, n) for a in answers) for n in ("model_calls", "unpriced_calls")
        )
        rest = f", and {unknown} of unknown price" if unknown else ""
        _print(f"{len(answers)} answers, {calls} model calls: {known:.4f} USD{rest}")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
