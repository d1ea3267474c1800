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
from core.ports import FailedTry
from providers.deployment import Deployment
from providers.tokens import estimate_request_tokens, request_chars

SURELY_TOO_LARGE = 1.15
"""Of a model's window, by an estimate that may be 15% off."""
SUSPECTED_TOO_LARGE = 0.7
"""Of a window: a refused request of this size is taken for one that does not fit."""


@dataclass(slots=True)
class RoutedCall:
    """``deadline`` is on the monotonic clock. ``only_one`` tells that there is nowhere to go."""

    request: CompletionRequest
    only_one: bool
    deadline: float
    on_failed_try: Callable[[FailedTry], None] | None
    tries: int = 0
    retryable: bool = False
    wait_seconds: float | None = None
    errors: list[ManusError] = field(default_factory=list[ManusError])
    problems: dict[str, str] = field(default_factory=dict[str, str])
    _tokens: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def remaining_seconds(self) -> float:
        return self.deadline - time.monotonic()

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
        if self._fills(deployment, window, SURELY_TOO_LARGE):
            tokens = self._count(deployment.model)
            text = f"about {tokens} tokens do not fit the window of {window}"
            raise ContextOverflowError(f"{deployment.name}: {text}")

    def classify(self, error: ManusError, deployment: Deployment, window: int | None) -> ManusError:
        """A refusal of unknown cause as an overflow, where the size of the request explains it.

        Some providers have no code for an overflow, and what their message says may change.
        """
        plain = type(error) is ProviderRejectedError and error.details.get("status") in (400, 413)
        if plain and self._fills(deployment, window, SUSPECTED_TOO_LARGE):
            return ContextOverflowError(error.message, **error.details)
        return error

    def note_failure(self, deployment: Deployment, error: ManusError, started: float) -> None:
        """Records a failed try and tells the caller of it."""
        self.errors.append(error)
        self.problems[deployment.name] = f"{type(error).__name__}: {error.message}"
        self.retryable |= isinstance(error, RetryableError)
        if self.on_failed_try is None:
            return
        self.on_failed_try(
            FailedTry(
                provider=deployment.provider,
                deployment=deployment.name,
                model=deployment.model,
                error_type=type(error).__name__,
                message=error.message,
                duration_seconds=time.monotonic() - started,
                try_index=self.tries - 1,
            )
        )

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

    def _fills(self, deployment: Deployment, window: int | None, share: float) -> bool:
        # A token is rarely less than one character: counting can be spared most of the time.
        if window is None or request_chars(self.request) < window * share * 0.6:
            return False
        return self._count(deployment.model) > window * share

    def _count(self, model: str) -> int:
        if model not in self._tokens:
            self._tokens[model] = estimate_request_tokens(self.request, model=model)
        return self._tokens[model]
