"""The table of docs/providers.md, each cell against what the provider of that kind does."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import pytest
import pytest_asyncio

from core.completion import Completion, CompletionRequest, ToolChoice, ToolDefinition
from core.embedding import EmbeddingRequest
from core.errors import UnsupportedError
from core.message import ImagePart, Message, ThinkingPart, ToolResultPart, user
from core.provider_settings import ProviderKind
from providers.base import BaseProvider
from providers.capabilities import capabilities_of
from providers.deployment import Deployment
from providers.profiles import load_profiles
from providers.tokens import COUNT_ERROR, count_error
from tests.fakes.kinds import MODELS, provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, ScriptedCall, ScriptedUsage
from tests.fakes.scripts import always

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
KINDS: tuple[ProviderKind, ...] = get_args(ProviderKind)
PIXEL = ImagePart(media_type="image/png", data="iVBORw0KGgo=")
THOUGHT, SIGNATURE = "a thought that is told apart", "c2lnbmF0dXJl"
PARAMETERS = {"type": "object", "properties": {"zebra": {"type": "string"}}, "required": ["zebra"]}
TOOL = ToolDefinition(name="look", description="Looks.", parameters=PARAMETERS)
ASKED = CompletionRequest(messages=(user("hello"),), max_output_tokens=60)
CALLS = (ScriptedCall("look", {"zebra": "a"}), ScriptedCall("look", {"zebra": "b"}))


@dataclass(frozen=True, slots=True)
class Subject:
    kind: ProviderKind
    server: FakeModelServer
    provider: BaseProvider

    async def ask(self, reply: Answer | Fault, **changes: Any) -> tuple[Completion, dict[str, Any]]:
        """The answer, and the body that was sent, where there is a wire."""
        self.server.script = always(reply)
        request = ASKED.model_copy(update=changes)
        answer = await self.provider.generate_completion(request, model=MODELS[self.kind])
        return answer, self.server.requests[-1].body if self.server.requests else {}


async def chat(subject: Subject) -> str:
    answer, _ = await subject.ask(Answer(text="hi"))
    return "yes" if answer.text.strip() else "no"


async def tools(subject: Subject) -> str:
    """``forced`` where a tool can be demanded, ``offered`` where the model may always decline."""
    choice = ToolChoice(mode="required")
    answer, body = await subject.ask(
        Answer(tool_calls=CALLS[:1]), tools=(TOOL,), tool_choice=choice
    )
    assert answer.tool_calls[0].name == "look"
    assert isinstance(answer.tool_calls[0].arguments["zebra"], str)
    return "offered" if body.get("tool_choice") == "auto" else "forced"


async def parallel(subject: Subject) -> str:
    """Whether several calls of a turn are read, and whether they can be forbidden."""
    reply, choice = Answer(tool_calls=CALLS), ToolChoice(mode="required")
    answer, free = await subject.ask(reply, tools=(TOOL,), tool_choice=choice)
    _, bound = await subject.ask(
        reply, tools=(TOOL,), tool_choice=choice, parallel_tool_calls=False
    )
    if len(answer.tool_calls) < 2:
        return "no"
    return "yes" if free == bound else "yes, or not"


async def images(subject: Subject) -> str:
    """Of the protocol, whatever the kind's default model can see; a model here must see itself."""
    if subject.provider.runs_here:
        seen = capabilities_of(Deployment("p", MODELS[subject.kind]), {}).vision
        return "yes" if seen else "no"
    _, body = await subject.ask(Answer(text="hi"), messages=(user("look", PIXEL),))
    return "yes" if PIXEL.data in json.dumps(body) else "no"


async def structured(subject: Subject) -> str:
    """``schema`` where the service holds the answer to it, ``in words`` where the model is told."""
    answer, body = await subject.ask(Answer(text='{"zebra": "a"}'), output_schema=PARAMETERS)
    assert set(json.loads(answer.text)) == {"zebra"}
    told = {"messages", "contents", "input", "system", "systemInstruction"}
    held = {key: value for key, value in body.items() if key not in told}
    return "schema" if subject.kind == "local" or "zebra" in json.dumps(held) else "in words"


async def streaming(subject: Subject) -> str:
    subject.server.script = always(Answer(text="a text that comes in several pieces"))
    stream = subject.provider.generate_stream(ASKED, model=MODELS[subject.kind])
    pieces = [chunk.text async for chunk in stream if chunk.text]
    return "yes" if len(pieces) > 1 else "no"


async def thinking(subject: Subject) -> str:
    """Whether it is read, and whether it (or what signs it) goes back within a tool loop."""
    answer, _ = await subject.ask(_thoughtful(subject.kind), tools=(TOOL,))
    if not any(isinstance(p, ThinkingPart) for p in answer.parts):
        return "no"
    call = answer.tool_calls[0]
    results = (ToolResultPart(call_id=call.id, name=call.name, text="seen"),)
    messages = (user("go"), answer.to_message(), Message(role="tool", parts=results))
    _, body = await subject.ask(Answer(text="done"), messages=messages, tools=(TOOL,))
    sent = json.dumps(body)
    return "yes, goes back" if THOUGHT in sent or SIGNATURE in sent else "yes"


def _thoughtful(kind: ProviderKind) -> Answer | Fault:
    profile = load_profiles().get(kind)
    if profile is None or not profile.signed:
        return Answer(tool_calls=CALLS[:1], thinking=THOUGHT, signature=SIGNATURE)
    signed = {"google": {"thought_signature": SIGNATURE}}
    call = {"id": "a", "function": {"name": "look", "arguments": "{}"}, "extra_content": signed}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": THOUGHT}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    return Fault(status=200, body=body)


async def caching(subject: Subject) -> str:
    """Whether the provider's cache is asked for, and whether what was read from it is counted."""
    usage = ScriptedUsage(input=50, cache_read=40)
    answer, body = await subject.ask(Answer(text="hi", usage=usage), tools=(TOOL,))
    if answer.usage.cache_read_tokens != 40:
        return "no"
    sent = json.dumps(body)
    asked = "cache_control" in sent or "cachePoint" in sent
    return "asked for, counted" if asked else "counted"


async def tokens(subject: Subject) -> str:
    """``asked`` of the provider, ``counted`` here by the model's encoding, or an ``estimate``."""
    model = MODELS[subject.kind]
    counted = await subject.provider.ask_token_count(ASKED, model=model)
    if counted is not None:
        return "asked"
    return "counted" if count_error(model) == COUNT_ERROR else "estimate"


async def embeddings(subject: Subject) -> str:
    model = "amazon.titan-embed-text-v2:0" if subject.kind == "bedrock" else "some-embedding"
    subject.server.script = always(Answer())
    try:
        request = EmbeddingRequest(texts=("one", "two"))
        found = await subject.provider.generate_embeddings(request, model=model)
    except UnsupportedError:
        return "no"
    return "yes" if len(found.vectors) == 2 else "no"


Probe = Callable[[Subject], Awaitable[str]]
COLUMNS: Mapping[str, Probe] = MappingProxyType(
    {
        "chat": chat,
        "tools": tools,
        "parallel calls": parallel,
        "images": images,
        "structured": structured,
        "streaming": streaming,
        "thinking": thinking,
        "caching": caching,
        "tokens": tokens,
        "embeddings": embeddings,
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def subject(request: pytest.FixtureRequest) -> AsyncGenerator[Subject]:
    kind: ProviderKind = request.param
    async with FakeModelServer(always(Answer(text="hi"))) as server:
        provider = provider_of(kind, server)
        yield Subject(kind, server, provider)
        await provider.close()


def table() -> dict[str, dict[str, str]]:
    """The page's cells by kind and column."""
    lines = re.findall(r"^\|(.+)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    rows = [[cell.strip(" `") for cell in line.split("|")] for line in lines]
    start = next(i for i, row in enumerate(rows) if row[0] == "kind")
    names = rows[start][1:]
    own = [row for row in rows[start + 2 :] if row[0] in KINDS]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in own}


async def test_the_table_has_every_kind_and_no_column_without_a_probe() -> None:
    cells = table()
    assert tuple(cells) == KINDS
    assert {tuple(row) for row in cells.values()} == {tuple(COLUMNS)}


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_cell_says_what_the_provider_does(subject: Subject, column: str) -> None:
    assert table()[subject.kind][column] == await COLUMNS[column](subject)
