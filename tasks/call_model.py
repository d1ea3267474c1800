"""The model as a tool sees it: on the run's account, each call durable at its place."""

from __future__ import annotations

from dataclasses import dataclass

from core.completion import Completion, CompletionRequest
from tasks.model_call import DurableModel


@dataclass(slots=True)
class CallModel:
    """The port ``ToolModel`` for one tool call. ``key`` is the call's record key."""

    model: DurableModel
    key: str
    turn: int
    route: str
    asked: int = 0

    async def ask(self, request: CompletionRequest) -> Completion:
        """Asks the step's route unless the request names another. Raises as ``DurableModel``."""
        self.asked += 1
        if request.route == "default":
            request = request.model_copy(update={"route": self.route})
        return await self.model.complete_at(f"{self.key}-m{self.asked:02d}", request, self.turn)
