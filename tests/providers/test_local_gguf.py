"""The model in this process: always in the shape asked for, never in the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from core.completion import CompletionRequest, ToolChoice, ToolDefinition
from core.errors import (
    ContextOverflowError,
    MalformedAnswerError,
    ModelNotFoundError,
    ProviderRejectedError,
)
from core.message import user
from core.provider_settings import ProviderSettings
from providers.deployment import DEFAULT_MODELS
from providers.local_gguf import LocalGgufProvider
from providers.local_schema import MAX_ARRAY_ITEMS, MAX_STRING_CHARS, bounded, read_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODEL = DEFAULT_MODELS["local"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local() -> AsyncGenerator[LocalGgufProvider]:
    provider = LocalGgufProvider("local", ProviderSettings(kind="local", max_output_tokens=200))
    yield provider
    await provider.close()


def asked(text: str, **changes: Any) -> CompletionRequest:
    return CompletionRequest(messages=(user(text),)).model_copy(update=changes)


async def test_the_event_loop_keeps_running_while_it_thinks(local: LocalGgufProvider) -> None:
    answering = asyncio.ensure_future(
        local.generate_completion(asked("Tell me about rivers."), model=MODEL)
    )
    ticks = 0
    while not answering.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert (await answering).text
    assert ticks > 5


async def test_calls_wait_for_each_other(local: LocalGgufProvider) -> None:
    texts = ("Name a colour.", "Name an animal.", "Name a city.")
    calls = (local.generate_completion(asked(t, max_output_tokens=8), model=MODEL) for t in texts)
    answers = await asyncio.gather(*calls)
    assert all(answer.text for answer in answers)


async def test_nested_schemas_with_references_are_kept_to(local: LocalGgufProvider) -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["city", "river"]},
            "names": {"type": "array", "items": {"$ref": "#/$defs/Name"}, "minItems": 1},
            "note": {"type": ["string", "null"]},
        },
        "required": ["kind", "names", "note"],
        "$defs": {"Name": {"type": "object", "properties": {"en": {"type": "string"}}}},
    }
    request = asked("List two rivers.", output_schema=schema, max_output_tokens=1024)
    value = json.loads((await local.generate_completion(request, model=MODEL)).text)
    assert value["kind"] in ("city", "river")
    assert 1 <= len(value["names"]) <= MAX_ARRAY_ITEMS
    assert all(set(name) <= {"en"} for name in value["names"])
    assert value["note"] is None or len(value["note"]) <= MAX_STRING_CHARS


async def test_with_free_choice_it_answers_or_calls(local: LocalGgufProvider) -> None:
    tool = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})
    request = asked("Look around.", tools=(tool,), tool_choice=ToolChoice())
    answer = await local.generate_completion(request, model=MODEL)
    assert answer.text or [c.name for c in answer.tool_calls] == ["look"]


async def test_a_conversation_too_long_for_it_is_an_overflow(local: LocalGgufProvider) -> None:
    with pytest.raises(ContextOverflowError):
        await local.generate_completion(asked("word " * 9000), model=MODEL)


async def test_another_model_is_not_found(local: LocalGgufProvider) -> None:
    with pytest.raises(ModelNotFoundError, match="llama-4"):
        await local.generate_completion(asked("hello"), model="llama-4")


async def test_an_answer_cut_within_its_json_is_not_passed_on() -> None:
    request = asked("x", output_schema={"type": "object", "properties": {}})
    with pytest.raises(MalformedAnswerError):
        read_answer(request, '{"a": "b')


async def test_a_schema_that_refers_to_itself_is_refused() -> None:
    schema = {
        "$ref": "#/$defs/T",
        "$defs": {"T": {"type": "array", "items": {"$ref": "#/$defs/T"}}},
    }
    with pytest.raises(ProviderRejectedError, match="recursive"):
        bounded(schema)
    with pytest.raises(ProviderRejectedError, match="has no"):
        bounded({"$ref": "#/$defs/Missing"})


async def test_bounds_never_widen_what_a_schema_allows() -> None:
    assert bounded({"type": "string", "minLength": 500, "maxLength": 900})["maxLength"] == 500
    assert bounded({"type": "array", "maxItems": 2})["maxItems"] == 2
    assert bounded({"type": "object", "required": ["a"]})["properties"].keys() == {"a"}
