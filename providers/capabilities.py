"""What a model can take, so that a request is not sent where it must fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from core.completion import CompletionRequest
from core.message import ImagePart, Part, ToolResultPart
from core.provider_settings import CapabilitySettings
from providers.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Capabilities:
    vision: bool = True
    tools: bool = True
    json_schema: bool = True


_BY_MODEL = (
    ("smollm2*", Capabilities(vision=False)),
    ("gpt-3.5*", Capabilities(vision=False, json_schema=False)),
    ("gpt-oss*", Capabilities(vision=False)),
    ("o1-mini*", Capabilities(vision=False, tools=False, json_schema=False)),
    ("o1-preview*", Capabilities(vision=False, tools=False, json_schema=False)),
    ("o3-mini*", Capabilities(vision=False)),
    ("deepseek*", Capabilities(vision=False)),
    ("claude-2*", Capabilities(vision=False, tools=False, json_schema=False)),
)
"""By model id without its vendor prefix. What is not here is assumed to be able to do all."""


def capabilities_of(
    deployment: Deployment, overrides: Mapping[str, CapabilitySettings]
) -> Capabilities:
    """By the table, then by the configuration: of the provider, then of the deployment."""
    model = deployment.model.rpartition("/")[2]
    found = next((c for pattern, c in _BY_MODEL if fnmatch(model, pattern)), Capabilities())
    for name in (deployment.provider, deployment.name):
        if name in overrides:
            found = replace(found, **overrides[name].model_dump(exclude_none=True))
    return found


def needs_of(request: CompletionRequest) -> Capabilities:
    """What a request asks for."""
    return Capabilities(
        vision=any(_shows(part) for message in request.messages for part in message.parts),
        tools=bool(request.tools) and request.tool_choice.mode != "none",
        json_schema=request.output_schema is not None,
    )


def missing(needs: Capabilities, has: Capabilities) -> str:
    """What is asked for and not there, in words; empty where nothing is."""
    wanted = {
        "images": needs.vision and not has.vision,
        "tools": needs.tools and not has.tools,
        "an output schema": needs.json_schema and not has.json_schema,
    }
    return " or ".join(name for name, lacking in wanted.items() if lacking)


def _shows(part: Part) -> bool:
    return isinstance(part, ImagePart) or (isinstance(part, ToolResultPart) and bool(part.images))
