"""The Protocols that layers meet at: who uses one need not know who stands behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from core.base import Value
from core.completion import Completion, CompletionRequest
from core.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from core.usage import UsageEvent


class FailedTry(Value):
    """One deployment's failure inside one model call, before the next one was tried.

    ``error_type`` is a class name of ``core.errors``, or ``HedgedAway`` for a try that was given up
    since another deployment answered first: what it cost is unknown, and it may have cost.
    ``try_index`` counts from 0 within the call.
    """

    provider: str
    deployment: str
    model: str
    error_type: str
    message: str
    duration_seconds: float
    try_index: int


class Router(Protocol):
    """Answers a request by whichever deployment of its route can."""

    async def generate_completion(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
    ) -> Completion: ...

    def check_route(self, route: str) -> None:
        """Raises ConfigError, naming it, for a route that does not exist."""
        ...

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        ...

    @property
    def uses_only_local_model(self) -> bool:
        """Whether nothing but the small built-in model answers."""
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room taken under the rate limits of a deployment, or how long until there may be some.

    ``taken_at`` is the limiter's own clock, which only it reads.
    """

    deployment: str
    tokens: int
    taken_at: float = 0.0
    wait_seconds: float = 0.0

    @property
    def granted(self) -> bool:
        return self.wait_seconds <= 0


@dataclass(frozen=True, slots=True)
class Headroom:
    """What is left of a minute's limits; ``None`` is no limit."""

    requests: int | None = None
    tokens: int | None = None


class Limiter(Protocol):
    """Requests and tokens per minute of deployments, asked before each call.

    One behind a network or a file must answer soon: while it is asked the call waits.
    """

    async def reserve(self, deployment: str, tokens: int) -> Reservation:
        """Takes room for one request of so many tokens at once, or nothing at all."""
        ...

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """Replaces the estimate of a granted reservation by what was used."""
        ...

    async def headroom(self, deployment: str) -> Headroom: ...


class ModelClient(Protocol):
    """A model as an agent sees it. ``turn`` is the call's position within its attempt, from 1."""

    async def complete(self, request: CompletionRequest, *, turn: int) -> Completion: ...


class ToolAnswer(Value):
    """What a call gives the loop.

    ``state`` is how things stand after the call (the page a browser is on): the model sees it on
    the next turn only, for later it would be stale.
    """

    part: ToolResultPart
    state: tuple[TextPart | ImagePart, ...] = ()


class ToolRunner(Protocol):
    """Runs one call of a turn. A tool's failure comes back as ``is_error``, it is not raised."""

    async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer: ...


class ToolModel(Protocol):
    """A model for a tool's own use, on the run's account; each call of it is durable."""

    async def ask(self, request: CompletionRequest) -> Completion: ...


class UsageSink(Protocol):
    """Takes usage rows; never blocks on a database and is safe to call from any thread."""

    def emit(self, event: UsageEvent) -> None: ...


class Question(Value):
    """Something only a person can say.

    ``choices`` are the only answers there are; empty, any text is one. ``default`` is taken when
    nobody answers within ``timeout_seconds``; ``None`` makes that a TimeoutError.
    """

    text: str
    choices: tuple[str, ...] = ()
    default: str | None = None
    timeout_seconds: float | None = None


class Human(Protocol):
    """Someone who can answer; questions of one run queue up behind each other."""

    async def ask(self, question: Question) -> str:
        """The answer, which is durable: asked again at the same place, it is not asked twice.

        Raises:
            TimeoutError: nobody answered, and the question has no default.
        """
        ...
