"""Which deployments may embed: those of one model, since vectors of two cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence

from core.completion import CompletionRequest
from core.embedding import EmbeddingRequest
from core.errors import UnsupportedError
from core.message import Message, TextPart
from providers.deployment import Deployment
from providers.route import Route


def deployments_of_model(chain: Sequence[Route], request: EmbeddingRequest) -> list[Deployment]:
    """Those of the request's model, in the route's order; without one, of the first one's model.

    The same model is told by its name, with or without a vendor's prefix. A strategy does not
    reorder them: who answers must not decide in which space the vectors lie.

    Raises:
        UnsupportedError: none is of that model.
    """
    every = list(dict.fromkeys(d for route in chain for d in route.deployments))
    wanted = _bare(request.model or every[0].model)
    same = [d for d in every if _bare(d.model) == wanted]
    if not same:
        names = ", ".join(d.name for d in every)
        problem = f"no deployment of model '{request.model}' (it has {names})"
        raise UnsupportedError(f"route '{request.route}': {problem}")
    return same


def as_call(request: EmbeddingRequest) -> CompletionRequest:
    """The texts as a request to a model, for limits and deadlines, which count its tokens."""
    parts = tuple(TextPart(text=text) for text in request.texts)
    return CompletionRequest(
        messages=(Message(role="user", parts=parts),),
        route=request.route,
        max_output_tokens=1,
        timeout_seconds=request.timeout_seconds,
    )


def _bare(model: str) -> str:
    return model.rpartition("/")[2]
