"""The Protocols that layers meet at: who uses one need not know who stands behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

from core.base import Value
from core.completion import Chunk, Completion, CompletionRequest
from core.embedding import EmbeddingRequest, Embeddings
from core.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from core.usage import UsageEvent


class FailedTry(Value):
    """One deployment's failure inside one model call, before the next one was tried.

    ``error_type`` is a class name of ``core.errors``, or of a try that was given up, whose cost is
    unknown and may well be one: ``HedgedAway`` since another deployment answered first,
    ``Abandoned`` since the reader of a stream went away.
    ``try_index`` counts from 0 within the call.
    """

    provider: str
    deployment: str
    model: str
    error_type: str
    message: str
    duration_seconds: float
    try_index: int

    @property
    def given_up(self) -> bool:
        """Whether nothing failed: nobody waited for the end."""
        return self.error_type in (HEDGED_AWAY, ABANDONED)


HEDGED_AWAY = "HedgedAway"
ABANDONED = "Abandoned"


class CallEstimate(Value):
    """What a call may take, before it is made.

    Output tokens are the request's limit, else those of a usual answer. ``cost_usd`` is at the
    highest known price of the route's deployments, ``None`` where none is known.
    """

    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class TokenCount(Value):
    """The input tokens of a request at one deployment, and who counted them."""

    deployment: str
    input_tokens: int
    counted_by: Literal["provider", "estimate"]


class Router(Protocol):
    """Answers a request by whichever deployment of its route can."""

    async def generate_completion(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
    ) -> Completion: ...

    def generate_stream(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes; the last chunk has all of it, with its cost.

        Another deployment is asked only before the first chunk. Close it when done with it early.

        Raises:
            TruncatedStreamError: the answer broke off after it had begun.
        """
        ...

    async def generate_embeddings(
        self,
        request: EmbeddingRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
    ) -> Embeddings:
        """Vectors of the request's model, from whichever deployment of it answers."""
        ...

    async def count_tokens(
        self, request: CompletionRequest, *, ask_provider: bool = False
    ) -> TokenCount:
        """Input tokens at the first deployment that could take the request."""
        ...

    def estimate_call(self, request: CompletionRequest) -> CallEstimate:
        """What the call may take, to set it aside; quick and on the safe side."""
        ...

    def check_route(self, route: str) -> None:
        """Raises ConfigError, naming it, for a route that does not exist."""
        ...

    def deployments_of(self, route: str) -> tuple[str, ...]:
        """Who may answer a route, as ``provider:model``, those of its fallbacks behind its own.

        Raises:
            ConfigError: there is no such route.
        """
        ...

    def context_window(self, route: str) -> int | None:
        """Tokens that every deployment of the route can read and write in one call.

        ``None`` where that is known of none of them. Its fallbacks are not asked.

        Raises:
            ConfigError: there is no such route.
        """
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


CallKind = Literal["turn", "summary"]
"""What a model is called for: an agent's turn, or a summary of the turns that were dropped."""


class ModelClient(Protocol):
    """A model as an agent sees it.

    ``turn`` (from 1) and ``kind`` are the call's position within its attempt: no two calls share
    one.
    """

    async def complete(
        self, request: CompletionRequest, *, turn: int, kind: CallKind = "turn"
    ) -> Completion: ...


class ToolAnswer(Value):
    """What a call gives the loop.

    ``state`` is how things stand after the call (the page a browser is on): the model sees it on
    the next turn only, for later it would be stale. ``terminated`` says that the call ends the
    agent's work, with ``part``'s text and ``output`` as the result.
    """

    part: ToolResultPart
    state: tuple[TextPart | ImagePart, ...] = ()
    terminated: Literal["success", "failure"] | None = None
    output: Any = None


class ToolRunner(Protocol):
    """Runs one call of a turn. A tool's failure comes back as ``is_error``, it is not raised."""

    async def run(self, call: ToolCallPart, *, turn: int, index: int) -> ToolAnswer: ...


class ToolModel(Protocol):
    """A model for a tool's own use, on the run's account; each call of it is durable."""

    async def ask(self, request: CompletionRequest) -> Completion: ...


class UsageSink(Protocol):
    """Takes usage rows; never blocks on a database and is safe to call from any thread."""

    def emit(self, event: UsageEvent) -> None: ...


class PlanBook(Protocol):
    """The plan that a step belongs to, as its agent may use it."""

    def read(self) -> str:
        """The steps with their statuses and notes, as text."""
        ...

    def note(self, text: str) -> None:
        """Leaves a note on the agent's own step. Idempotent."""
        ...


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
