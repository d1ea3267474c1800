"""``manus chat``: a conversation with an agent; each message is a durable run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from core.base import Slug
from core.errors import BadInputError, ManusError
from core.result import RunReport, StepReport
from core.run import RunOptions
from core.settings import Settings, load_settings
from gateway.cli.agent import agent_parameters
from gateway.cli.chat_input import LineReader
from gateway.cli.chat_log import Answered, Asked, ChatLog, opened_chat
from gateway.cli.chat_view import ChatView
from gateway.cli.exits import Exit
from gateway.cli.run import NEW, Launch, outcome_of, say, start_server
from tasks.conversation import newest_within, single_step_plan
from tasks.request import REQUEST_FILE, prepare, run_directory
from tasks.services import Services, open_services, using

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

CONVERSATION_TOKENS = 30_000
"""Of what was said before, the end that an agent is shown."""
HELP = (
    "/exit leaves, /files lists the files so far, /cost says what was spent; Ctrl-C stops an answer"
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The arguments of ``manus chat``."""

    agent: str | None
    session: str | None
    inputs: list[Path]
    model: str
    as_json: bool

    @property
    def name(self) -> str:
        """Of the session. Raises BadInputError if it is no name."""
        given = self.session or f"chat-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
        try:
            return TypeAdapter[str](Slug).validate_python(given)
        except ValidationError as error:
            raise BadInputError(f"--session {given}: use a-z, 0-9, - and _") from error


def chat_command(request: ChatRequest) -> Exit:
    """Returns FAILED where a message that came by a pipe was not answered."""
    return asyncio.run(_chat(load_settings(), request))


async def _chat(settings: Settings, request: ChatRequest) -> Exit:
    name = request.name
    with opened_chat(settings.home, name) as log:
        async with open_services(settings) as services:
            agent = request.agent or (log.asked[-1].agent if log.asked else "manus")
            reader = LineReader()
            attended = "ask" if reader.interactive else None
            options = RunOptions(
                inputs=tuple(str(p.absolute()) for p in request.inputs),
                model=request.model,
                approvals=attended,
            )
            prepare(services, "", single_step_plan("check", agent, options), options, NEW)
            start_server(settings)
            view = ChatView(name, reader, as_json=request.as_json)
            chat = Chat(services, log, view, agent, options)
            say(f"chat {name} with {agent}; {HELP}" if reader.interactive else f"chat {name}")
            await chat.converse()
            if reader.interactive:
                say(f"manus chat --session {name}")
    return Exit.COMPLETED if reader.interactive or not chat.failed else Exit.FAILED


@dataclass(slots=True)
class Chat:
    """A conversation under way. ``options`` are those of the next message."""

    services: Services
    log: ChatLog
    view: ChatView
    agent: str
    options: RunOptions
    failed: bool = False

    async def converse(self) -> None:
        """Answers each line until there are no more."""
        if cut_off := self.log.unanswered:
            say(f"going on with the answer to: {cut_off.text[:200]}")
            await self._finish(cut_off)
        while (line := await self._next_line()) is not None:
            match line.split():
                case []:
                    continue
                case ["/exit" | "/quit"]:
                    return
                case ["/files"]:
                    self.view.show_files(self.log)
                case ["/cost"]:
                    self.view.show_cost(self.log)
                case [word, *_] if word.startswith("/") and "/" not in word[1:]:
                    say(HELP)
                case _:
                    await self._answer(line.strip())

    async def _next_line(self) -> str | None:
        if not self.view.reader.interactive:
            return await self.view.reader.line()
        with _on_interrupt(lambda: say("\n/exit or Ctrl-D leaves")):
            return await self.view.reader.line()

    async def _answer(self, text: str) -> None:
        from flows.agent import run_agent

        begun = [a.run_key for a in self.log.asked if self._has_begun(a.run_key)]
        said = newest_within(self.log.conversation(), CONVERSATION_TOKENS)
        options = self.options.model_copy(
            update={"conversation": said, "files_of": begun[-1] if begun else None}
        )
        launch = Launch(run_agent, agent_parameters(text, self.agent, options), NEW)
        key, flow_run = await launch.create(self.services.settings.home)
        self.log.append(Asked(run_key=key, agent=self.agent, text=text))
        self.options = self.options.model_copy(update={"inputs": ()})  # they are in the run now
        await self._run(launch, key, flow_run)

    async def _finish(self, cut_off: Asked) -> None:
        """Goes on with a run from what it has committed, or begins it anew if it never began."""
        from flows.agent import run_agent

        if not self._has_begun(cut_off.run_key):
            await self._answer(cut_off.text)
            return
        options = RunOptions(resume_from=cut_off.run_key)
        launch = Launch(run_agent, agent_parameters(None, self.agent, options), cut_off.run_key)
        key, flow_run = await launch.create(self.services.settings.home)
        await self._run(launch, key, flow_run)

    def _has_begun(self, run_key: str) -> bool:
        return (run_directory(self.services.settings.home, run_key) / REQUEST_FILE).exists()

    async def _run(self, launch: Launch, key: str, flow_run: FlowRun) -> None:
        from gateway.runs import execute

        used = replace(
            self.services,
            listeners=(self.view.listener(key),),
            cancel_requested=asyncio.Event(),
        )
        with using(used), _on_interrupt(used.cancel_requested.set):
            state = await execute(launch.flow, flow_run, launch.parameters)
        self.view.stop_asking()
        if state.is_cancelled():
            answered = Answered(run_key=key, status="cancelled", text="stopped by the user")
        else:
            answered = _answered(key, await outcome_of(state))
        self.log.append(answered)
        self.failed |= answered.status != "completed"
        self.view.show_answer(answered)


def _answered(key: str, outcome: object) -> Answered:
    """What a run left, as the log keeps it. Raises what is no error of ours."""
    match outcome:
        case RunReport():
            (step,) = outcome.steps
            return Answered(
                run_key=key,
                status=outcome.status,
                text=outcome.summary if outcome.status == "completed" else step.reason or "",
                files=_files(outcome, step),
                model_calls=outcome.spend.model_calls,
                cost_usd=outcome.spend.cost_usd,
                unpriced_calls=outcome.spend.unpriced_calls,
                untrusted=step.result.untrusted if step.result else True,
            )
        case ManusError():
            return Answered(run_key=key, status="failed", text=str(outcome), untrusted=True)
        case BaseException():
            raise outcome
        case _:
            raise TypeError(f"a run left {type(outcome).__name__}")


def _files(report: RunReport, step: StepReport) -> tuple[str, ...]:
    place = Path(report.directory) / "workspace" / step.step_id
    return tuple(str(place / f.path) for f in step.result.files) if step.result else ()


@contextmanager
def _on_interrupt(act: Callable[[], None]) -> Generator[None]:
    """Ctrl-C does this meanwhile, and nothing else."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, act)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
