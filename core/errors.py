"""Every error the product raises on purpose.

ManusError
├── RetryableError                 the same call may work later, or on another deployment
│   ├── RateLimitedError           429; retry_after_seconds when the provider said so
│   ├── OverloadedError            500, 502, 503, 529: the provider is in trouble
│   ├── ProviderTimeoutError       no answer within the time given
│   ├── ProviderConnectionError    refused, reset, or cut in mid-answer
│   ├── TruncatedStreamError       a stream ended without its terminal marker
│   └── MalformedAnswerError       an answer that is not what the protocol promises
├── PermanentError                 the same call will never work
│   ├── BadInputError              what the caller gave is wrong; names the place
│   │   ├── ConfigError            a configuration file or variable
│   │   ├── PlanError              a plan; names the step
│   │   └── RunNotFoundError       no such run under MANUS_HOME
│   ├── ProviderRejectedError      the provider refused this request (400, 404, 409, 413, 422)
│   │   ├── AuthenticationError    401: no key, or not a valid one
│   │   ├── PermissionDeniedError  403: a valid key without the right
│   │   ├── ModelNotFoundError     404: no such model or deployment
│   │   ├── ContextOverflowError   the request exceeds the model's window
│   │   ├── UnsupportedError       this provider cannot do that at all, whatever the request
│   │   └── ContentRefusedError    a safety filter said no
│   ├── AllDeploymentsFailedError  every deployment of a route failed; retryable_cause tells
│   ├── EnvironmentUnusableError   something this machine must have is missing
│   │   └── SandboxUnavailableError no sandbox backend passes its self-test
│   ├── BudgetExceededError        a limit of the run, the day or a tag is reached
│   ├── RunLockedError             another process holds the run's lease
│   ├── CorruptRecordError         a committed record is torn
│   ├── StaleRecordError           a committed record answers another question than the present one
│   ├── UnknownOutcomeError        a tool was in flight when the run died, and may not run again
│   ├── StepFailedError            an honest bad outcome of a step's attempt
│   └── RunFailedError             a run with failed steps; carries the counts
└── AnswerToModelError             not a failure of ours: goes back to the model as a tool error
    ├── InvalidArgumentsError      arguments do not fit the tool's schema
    ├── UnknownToolError           no such tool in this step
    ├── EgressDeniedError          the [egress] settings do not let tools connect there
    ├── ApprovalDeniedError        a call that may not run, by policy or because a person said no
    └── ToolFailedError            the tool ran and failed
"""

from __future__ import annotations

from typing import Any


class ManusError(Exception):
    """Root of the tree. Picklable: keyword state is restored by ``__reduce__``."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)

    def __str__(self) -> str:
        return self.message


def _rebuild(kind: type[ManusError], message: str, details: dict[str, Any]) -> ManusError:
    return kind(message, **details)


class RetryableError(ManusError):
    """May work later or elsewhere.

    ``retry_after_seconds`` is what the provider asked for, ``None`` when it did not say.
    """

    @property
    def retry_after_seconds(self) -> float | None:
        return self.details.get("retry_after_seconds")


class RateLimitedError(RetryableError):
    """429 from a provider, or a limit of ours reached before the call."""


class OverloadedError(RetryableError):
    """500, 502, 503, 504, 529."""


class ProviderTimeoutError(RetryableError):
    """No answer within the time given (also 408)."""


class ProviderConnectionError(RetryableError):
    """The connection was refused, reset, or cut in mid-answer."""


class TruncatedStreamError(RetryableError):
    """A stream was closed cleanly before its terminal marker."""


class MalformedAnswerError(RetryableError):
    """The body is not the protocol's: invalid JSON, no choice, an empty answer."""


class PermanentError(ManusError):
    """The same call will never work."""


class BadInputError(PermanentError):
    """What the caller gave is wrong. The message names the file, key, step or option."""


class ConfigError(BadInputError):
    """A configuration file or environment variable is wrong."""


class PlanError(BadInputError):
    """A plan is wrong; ``step_id`` names the step where there is one."""

    @property
    def step_id(self) -> str | None:
        return self.details.get("step_id")


class ProviderRejectedError(PermanentError):
    """The provider refused this request; another provider is not asked."""


class AuthenticationError(ProviderRejectedError):
    """401: no key, or not a valid one."""


class PermissionDeniedError(ProviderRejectedError):
    """403: the key is valid and may not do this."""


class ModelNotFoundError(ProviderRejectedError):
    """404: the provider has no such model or deployment."""


class ContextOverflowError(ProviderRejectedError):
    """The request does not fit the model's context window."""


class UnsupportedError(ProviderRejectedError):
    """This provider has no such thing, embeddings for example. Nobody was asked."""


class ContentRefusedError(ProviderRejectedError):
    """A content filter refused the request or the answer."""


class AllDeploymentsFailedError(PermanentError):
    """Every deployment of a route failed. ``retryable`` tells whether a later try may work.

    ``retry_after_seconds`` is when the first of them may be ready again, ``None`` where that is not
    known.
    """

    @property
    def retryable(self) -> bool:
        return bool(self.details.get("retryable"))

    @property
    def retry_after_seconds(self) -> float | None:
        return self.details.get("retry_after_seconds")


class EnvironmentUnusableError(PermanentError):
    """This machine lacks something; the message says what to install or set."""


class SandboxUnavailableError(EnvironmentUnusableError):
    """No sandbox backend passes its self-test on this machine."""


class BudgetExceededError(PermanentError):
    """A limit of the run, of the day or of a tag (tokens, USD, wall time, turns) is reached."""


class RunLockedError(PermanentError):
    """Another live process holds the run's lease."""


class RunNotFoundError(BadInputError):
    """MANUS_HOME has no such run."""


class CorruptRecordError(PermanentError):
    """A committed record cannot be read."""


class StaleRecordError(PermanentError):
    """A committed record answers another question: what is asked here has changed since."""


class UnknownOutcomeError(PermanentError):
    """A tool call was in flight when its process died, and its policy forbids a second run."""


class StepFailedError(PermanentError):
    """An attempt of a step ended badly; the reason is the message. Never retried in place."""

    @property
    def blocked(self) -> bool:
        return bool(self.details.get("blocked"))

    @property
    def refused(self) -> bool:
        """Whether a person did not approve of it."""
        return bool(self.details.get("refused"))

    @property
    def untrusted(self) -> bool:
        """Whether strangers' words were in view when the reason was written."""
        return bool(self.details.get("untrusted"))


class RunFailedError(PermanentError):
    """A run ended with failed steps; the message says how many and why."""


class AnswerToModelError(ManusError):
    """Told to the model as the tool's (failed) result; the loop goes on."""


class InvalidArgumentsError(AnswerToModelError):
    """Arguments that do not fit the tool's JSON schema, or are not JSON."""


class UnknownToolError(AnswerToModelError):
    """A tool that this step does not have."""


class EgressDeniedError(AnswerToModelError):
    """A connection that the ``[egress]`` settings forbid; names the place and the setting."""


class ApprovalDeniedError(AnswerToModelError):
    """A call that needs an approval and has none; it did not run."""


class ToolFailedError(AnswerToModelError):
    """The tool ran and could not do what was asked."""
