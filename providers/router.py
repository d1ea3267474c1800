"""Which deployment answers, and what happens when it does not.

A route's deployments are tried in order. What may work elsewhere moves on to the next one; what
the caller did wrong, or a refusal, is not sprayed over providers. One bound holds over all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from core.completion import Completion, CompletionRequest, ProviderStatus
from core.errors import (
    AuthenticationError,
    ConfigError,
    ContextOverflowError,
    ManusError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProviderConnectionError,
    RetryableError,
)
from core.message import ThinkingPart, ToolCallPart
from core.ports import FailedTry
from providers.base import BaseProvider
from providers.cooldown import Cooldown, CooldownLimits, Cooldowns
from providers.deployment import Deployment, parse_deployment
from providers.routed_call import RoutedCall

if TYPE_CHECKING:
    # Importing the price lists takes half a second.
    from providers.prices import PriceBook

_MOVES_ON = (
    RetryableError,
    AuthenticationError,
    PermissionDeniedError,
    ModelNotFoundError,
    ContextOverflowError,
)
_REMEMBERED_CALLS = 4096


@dataclass(frozen=True, slots=True)
class RouterLimits:
    """Bounds of one call over all its tries, and how long to wait between them (seconds)."""

    total_seconds: float = 600.0
    max_tries: int = 6
    max_wait_seconds: float = 30.0
    connection_tries: int = 3
    backoff_seconds: float = 0.5
    cooldown: CooldownLimits = field(default_factory=CooldownLimits)


class DeploymentRouter:
    """Implements ``core.ports.Router``. Use one instance within one event loop.

    ``models`` has each provider's default model. Within a conversation the provider that made its
    thinking or its tool calls is asked first, since only it can read its thinking.
    """

    def __init__(
        self,
        providers: Mapping[str, BaseProvider],
        routes: Mapping[str, Sequence[Deployment]],
        prices: PriceBook,
        *,
        models: Mapping[str, str],
        limits: RouterLimits | None = None,
    ) -> None:
        self._providers = dict(providers)
        self._routes = {name: tuple(route) for name, route in routes.items()}
        self._prices = prices
        self._models = dict(models)
        self._limits = limits or RouterLimits()
        self._cooldowns = Cooldowns(self._limits.cooldown)
        self._makers: OrderedDict[str, str] = OrderedDict()

    @property
    def uses_only_local_model(self) -> bool:
        """Whether every route ends at the model that runs in this process."""
        used = {d.provider for route in self._routes.values() for d in route}
        return bool(used) and all(self._providers[name].runs_here for name in used)

    def check_route(self, route: str) -> None:
        """Raises ConfigError, naming it, for a route that does not exist."""
        self._find_route(route)

    def describe(self) -> dict[str, tuple[str, ...]]:
        """The deployments of every route, as ``provider:model``, in order."""
        return {name: tuple(d.name for d in route) for name, route in self._routes.items()}

    async def get_statuses(self) -> tuple[ProviderStatus, ...]:
        """What is known of every provider, without spending anything."""
        return tuple(await asyncio.gather(*(p.get_status() for p in self._providers.values())))

    async def close(self) -> None:
        """Closes every provider. Idempotent."""
        await asyncio.gather(*(p.close() for p in self._providers.values()))

    async def generate_completion(
        self,
        request: CompletionRequest,
        *,
        on_failed_try: Callable[[FailedTry], None] | None = None,
    ) -> Completion:
        """The first answer that a deployment of the request's route gives, with its cost.

        Raises:
            ConfigError: there is no such route.
            ProviderRejectedError: the request itself is at fault, or was refused.
            AllDeploymentsFailedError: none answered; ``retryable`` tells whether waiting may help,
                and ``details["retry_after_seconds"]`` how long.
        """
        route = self._find_route(request.route)
        total = max(self._limits.total_seconds, request.timeout_seconds)
        call = RoutedCall(request, len(route) == 1, time.monotonic() + total, on_failed_try)
        todo = self._in_order(route, request)
        while deployment := await self._next(todo, call):
            try:
                completion = await self._try(deployment, call)
            except _MOVES_ON as error:
                if not (self._cooldowns.note(deployment.name, error) and _may_pass(error)):
                    todo.remove(deployment)
                continue
            return self._settled(completion)
        raise call.failure()

    def _find_route(self, name: str) -> tuple[Deployment, ...]:
        if name in self._routes:
            return self._routes[name]
        if ":" in name:
            return (parse_deployment(name, self._models, place=f"route '{name}'"),)
        raise ConfigError(f"no route '{name}' (known: {', '.join(sorted(self._routes))})")

    def _in_order(
        self, route: tuple[Deployment, ...], request: CompletionRequest
    ) -> list[Deployment]:
        maker = self._maker(request) if len(route) > 1 else None
        return sorted(route, key=lambda d: d.provider != maker) if maker else list(route)

    def _maker(self, request: CompletionRequest) -> str | None:
        """The provider that made the newest thinking or tool call of the conversation."""
        for message in reversed(request.messages):
            for part in message.parts:
                if isinstance(part, ThinkingPart):
                    return part.provider
                if isinstance(part, ToolCallPart) and part.id in self._makers:
                    return self._makers[part.id]
        return None

    async def _next(self, todo: list[Deployment], call: RoutedCall) -> Deployment | None:
        """The first deployment that is not cooling down, after a short wait where all are."""
        while todo and call.tries < self._limits.max_tries and call.remaining_seconds > 0:
            cooling = {d: c for d in todo if (c := self._cooldowns.of(d.name))}
            ready = next((d for d in todo if d not in cooling), None)
            if ready is not None:
                return ready
            if not await self._wait(cooling, call):
                return None
        return None

    async def _wait(self, cooling: Mapping[Deployment, Cooldown], call: RoutedCall) -> bool:
        for deployment, cooldown in cooling.items():
            text = f"cooling down for {cooldown.remaining_seconds:.0f} s after {cooldown.reason}"
            call.problems.setdefault(deployment.name, text)
        call.retryable |= any(c.worth_waiting for c in cooling.values())
        waits = [c.remaining_seconds for c in cooling.values() if c.worth_waiting]
        call.wait_seconds = min(waits, default=None)
        longest = min(self._limits.max_wait_seconds, call.remaining_seconds)
        if call.wait_seconds is None or call.wait_seconds > longest:
            return False
        await asyncio.sleep(call.wait_seconds)
        return True

    async def _try(self, deployment: Deployment, call: RoutedCall) -> Completion:
        if not call.only_one:
            return await self._try_once(deployment, call)
        # With nowhere to go, a broken connection is worth another try at once.
        left = self._limits.max_tries - call.tries
        retrying = AsyncRetrying(
            stop=stop_after_attempt(max(1, min(self._limits.connection_tries, left))),
            wait=wait_random_exponential(self._limits.backoff_seconds, max=5),
            retry=retry_if_exception_type(ProviderConnectionError),
            reraise=True,
        )
        return await retrying(self._try_once, deployment, call)

    async def _try_once(self, deployment: Deployment, call: RoutedCall) -> Completion:
        started = time.monotonic()
        call.tries += 1
        window = self._prices.context_window(deployment.provider, deployment.model)
        try:
            call.check_fit(deployment, window)
            provider = self._providers[deployment.provider]
            return await provider.generate_completion(call.next_request(), model=deployment.model)
        except ManusError as error:
            classified = call.classify(error, deployment, window)
            call.note_failure(deployment, classified, started)
            if classified is error:
                raise
            raise classified from error

    def _settled(self, completion: Completion) -> Completion:
        for tool_call in completion.tool_calls:
            self._makers[tool_call.id] = completion.provider
        while len(self._makers) > _REMEMBERED_CALLS:
            self._makers.popitem(last=False)
        return completion.model_copy(update={"cost_usd": self._prices.cost_usd(completion)})


def _may_pass(error: ManusError) -> bool:
    """Whether the same deployment is worth another try within this call, after its cooldown."""
    return isinstance(error, RetryableError)
