"""One request on its way through a route: its bounds, and what became of each deployment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.completion import CompletionRequest
from core.errors import (
    AllDeploymentsFailedError,
    ContextOverflowError,
    ManusError,
    ProviderRejectedError,
    RetryableError,
)
from core.ports import ABANDONED, HEDGED_AWAY, FailedTry
from providers.deployment import Deployment
from providers.tokens import count_error, estimate_request_tokens, request_weight, token_family

SUSPECTED_TOO_LARGE = 0.7
"""Of a window: a refused request of this size is taken for one that does not fit."""


@dataclass(slots=True)
class RoutedCall:
    """``todo`` are the deployments that may still answer, in the order to ask them.

    ``deadline`` is on the monotonic clock. ``asked`` counts the tries at each deployment.
    ``answered`` tells that an answer is there, while another try may still be running.
    """

    request: CompletionRequest
    deadline: float
    on_failed_try: Callable[[FailedTry], None] | None
    priority: int = 0
    todo: list[Deployment] = field(default_factory=list[Deployment])
    tries: int = 0
    answered: bool = False
    retryable: bool = False
    wait_seconds: float | None = None
    errors: list[ManusError] = field(default_factory=list[ManusError])
    problems: dict[str, str] = field(default_factory=dict[str, str])
    _tokens: dict[str, int] = field(default_factory=dict[str, int])
    _chars: int | None = None

    @property
    def remaining_seconds(self) -> float:
        return self.deadline - time.monotonic()

    @property
    def chars(self) -> int:
        if self._chars is None:
            self._chars = request_weight(self.request)
        return self._chars

    def next_request(self) -> CompletionRequest:
        """The request with no more time than the whole call has left."""
        left = self.remaining_seconds
        if left >= self.request.timeout_seconds:
            return self.request
        return self.request.model_copy(update={"timeout_seconds": max(0.001, left)})

    def check_fit(self, deployment: Deployment, window: int | None) -> None:
        """Saves the try that cannot succeed.

        Raises:
            ContextOverflowError: the request is longer than the model's window.
        """
        # Where it is not sure, the provider decides: an estimate may be too high.
        error = count_error(deployment.model)
        if window is not None and self._fills(deployment, window, 1 + error):
            tokens = self.count_tokens(deployment.model)
            text = f"about {tokens} tokens do not fit the window of {window}"
            raise ContextOverflowError(
                f"{deployment.name}: {text} (counted to within {error:.0%})",
                input_tokens=tokens,
                window_tokens=window,
            )

    def classify(self, error: ManusError, deployment: Deployment, window: int | None) -> ManusError:
        """A refusal of unknown cause as an overflow, where the size of the request explains it.

        Some providers have no code for an overflow, and what their message says may change.
        """
        plain = type(error) is ProviderRejectedError and error.details.get("status") in (400, 413)
        if plain and self._fills(deployment, window, SUSPECTED_TOO_LARGE):
            return ContextOverflowError(error.message, **error.details)
        return error

    def note_unfit(self, deployment: Deployment, error: ManusError) -> None:
        """Records why a deployment was not asked at all."""
        self.errors.append(error)
        self.problems[deployment.name] = f"{type(error).__name__}: {error.message}"

    def note_failure(
        self, deployment: Deployment, error: ManusError, started: float, index: int
    ) -> None:
        """Records the failed try of that index and tells the caller of it."""
        self.note_unfit(deployment, error)
        self.retryable |= isinstance(error, RetryableError)
        self._report(deployment, (type(error).__name__, error.message), started, index)

    def note_hedged_away(self, deployment: Deployment, started: float, index: int) -> None:
        """Tells the caller of a try that was given up because another one answered."""
        message = "another deployment answered first; what this try cost is not known"
        self._report(deployment, (HEDGED_AWAY, message), started, index)

    def note_abandoned(self, deployment: Deployment, started: float, index: int) -> None:
        """Tells the caller of a stream that was not read to its end."""
        message = "the stream was not read to its end; what it cost is not known"
        self._report(deployment, (ABANDONED, message), started, index)

    def failure(self) -> ManusError:
        """The error of a call that nobody answered.

        An overflow everywhere stays an overflow: the caller can shorten the conversation.
        """
        if self.errors and all(isinstance(e, ContextOverflowError) for e in self.errors):
            return self.errors[-1]
        lines = "; ".join(f"{name}: {problem}" for name, problem in self.problems.items())
        ran_out = "" if self.remaining_seconds > 0 else " (the time for the whole call is over)"
        return AllDeploymentsFailedError(
            f"no deployment of route '{self.request.route}' answered{ran_out}: {lines}",
            route=self.request.route,
            retryable=self.retryable,
            retry_after_seconds=self.wait_seconds,
            problems=dict(self.problems),
        )

    def count_tokens(self, model: str) -> int:
        """The request's input tokens, estimated once for each encoding."""
        kind = token_family(model)
        if kind not in self._tokens:
            self._tokens[kind] = estimate_request_tokens(self.request, model=model)
        return self._tokens[kind]

    def _report(
        self, deployment: Deployment, problem: tuple[str, str], started: float, index: int
    ) -> None:
        if self.on_failed_try is None:
            return
        self.on_failed_try(
            FailedTry(
                provider=deployment.provider,
                deployment=deployment.name,
                model=deployment.model,
                error_type=problem[0],
                message=problem[1],
                duration_seconds=time.monotonic() - started,
                try_index=index,
            )
        )

    def _fills(self, deployment: Deployment, window: int | None, share: float) -> bool:
        if window is None:
            return False
        # A token is rarely less than one character: counting can be spared most of the time.
        return (
            self.chars >= window * share * 0.6
            and self.count_tokens(deployment.model) > window * share
        )
