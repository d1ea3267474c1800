"""What every provider promises, over the real SDKs and the real local model."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import get_args

import pytest
import pytest_asyncio

from core.completion import Chunk, CompletionRequest, StopReason, ToolChoice, ToolDefinition
from core.errors import ProviderTimeoutError
from core.message import (
    ImagePart,
    Message,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    system,
    user,
)
from core.provider_settings import ProviderKind
from providers.base import BaseProvider
from tests.fakes.kinds import MODELS, provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, RecordedRequest, ScriptedCall

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIXEL = ImagePart(media_type="image/png", data="iVBORw0KGgo=")
WEATHER = ToolDefinition(
    name="weather",
    description="The weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
)
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Subject:
    provider: BaseProvider
    model: str


def obedient(request: RecordedRequest) -> Answer:
    """Does what is asked for, as a good model does."""
    if "slow" in request.last_text:
        return Answer(text="too late", latency_seconds=30)
    choice = str(request.tool_choice).lower()
    # A service that knows no other choice than auto is told in words.
    asked = bool(request.tool_names) and "Weather" in request.last_text
    if asked or ("auto" not in choice and "none" not in choice):
        return Answer(tool_calls=(ScriptedCall("weather", {"city": "Paris"}),))
    if any(word in request.text for word in ("json_schema", "json_object", "responseJsonSchema")):
        return Answer(text='{"name": "Alice", "age": 31}')
    return Answer(text="Hello Alice, how are you today?", thinking="A greeting is wanted.")


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=get_args(ProviderKind),
)
async def subject(request: pytest.FixtureRequest) -> AsyncGenerator[Subject]:
    kind: ProviderKind = request.param
    async with FakeModelServer(obedient) as server:
        provider = provider_of(kind, server, name="mine", max_output_tokens=120)
        yield Subject(provider, MODELS[kind])
        await provider.close()


def asked(text: str = "Say hello to Alice.") -> CompletionRequest:
    return CompletionRequest(messages=(system("You are brief."), user(text)))


async def test_an_answer_says_who_gave_it_and_what_it_took(subject: Subject) -> None:
    answer = await subject.provider.generate_completion(asked(), model=subject.model)
    assert answer.text.strip()
    assert answer.stop_reason in (StopReason.END, StopReason.LENGTH)
    assert (answer.provider, answer.deployment) == ("mine", f"mine:{subject.model}")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert answer.raw_usage
    assert answer.latency_seconds > 0


async def test_a_stream_ends_with_the_completion_its_pieces_make(subject: Subject) -> None:
    stream = subject.provider.generate_stream(asked(), model=subject.model)
    chunks: list[Chunk] = [chunk async for chunk in stream]
    whole = chunks[-1].completion
    assert whole is not None
    assert all(chunk.completion is None for chunk in chunks[:-1])
    assert "".join(chunk.text for chunk in chunks).strip() == whole.text.strip()
    assert whole.usage.output_tokens > 0
    first = whole.time_to_first_token_seconds
    assert first is not None
    assert 0 < first <= whole.latency_seconds


async def test_an_output_schema_gets_one_object_that_fits_it(subject: Subject) -> None:
    request = asked("Alice is 31 years old.").model_copy(update={"output_schema": PERSON})
    answer = await subject.provider.generate_completion(request, model=subject.model)
    value = json.loads(answer.text)
    assert set(value) == {"name", "age"}
    assert isinstance(value["name"], str)
    assert isinstance(value["age"], int)


@pytest.mark.parametrize("mode", ["required", "named"])
async def test_a_forced_tool_is_called(subject: Subject, mode: str) -> None:
    name = "weather" if mode == "named" else None
    choice = ToolChoice.model_validate({"mode": mode, "name": name})
    request = asked("Weather in Paris?").model_copy(
        update={"tools": (WEATHER,), "tool_choice": choice}
    )
    answer = await subject.provider.generate_completion(request, model=subject.model)
    assert answer.stop_reason is StopReason.TOOL_CALLS
    (call,) = answer.tool_calls
    assert call.id
    assert call.name == "weather"
    assert isinstance(call.arguments["city"], str)


async def test_tools_that_may_not_be_called_are_not(subject: Subject) -> None:
    choice = ToolChoice(mode="none")
    request = asked().model_copy(update={"tools": (WEATHER,), "tool_choice": choice})
    answer = await subject.provider.generate_completion(request, model=subject.model)
    assert not answer.tool_calls


async def test_a_conversation_with_results_images_and_foreign_thinking_is_accepted(
    subject: Subject,
) -> None:
    call = ToolCallPart(id="functions.weather:0", name="weather", arguments={"city": "Paris"})
    thought = ThinkingPart(text="hm", signature="x", provider="someone-else")
    result = ToolResultPart(call_id=call.id, name="weather", text="Sunny", images=(PIXEL,))
    messages = (
        *asked("Weather in Paris?").messages,
        Message(role="assistant", parts=(thought, call)),
        Message(role="tool", parts=(result,)),
        user("And what do you see here?", PIXEL),
    )
    request = CompletionRequest(messages=messages)
    answer = await subject.provider.generate_completion(request, model=subject.model)
    assert answer.text


async def test_no_answer_in_time_is_a_timeout_and_the_next_call_works(subject: Subject) -> None:
    slow = asked("slow: " + "count to a thousand, " * 60)
    slow = slow.model_copy(update={"timeout_seconds": 0.2, "max_output_tokens": 120})
    with pytest.raises(ProviderTimeoutError):
        await subject.provider.generate_completion(slow, model=subject.model)
    answer = await subject.provider.generate_completion(asked(), model=subject.model)
    assert answer.text


async def test_a_cancelled_call_leaves_the_provider_usable(subject: Subject) -> None:
    slow = asked("slow: tell a very long story")
    task = asyncio.ensure_future(subject.provider.generate_completion(slow, model=subject.model))
    await asyncio.sleep(0.15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer = await subject.provider.generate_completion(asked(), model=subject.model)
    assert answer.text


async def test_a_stream_left_early_leaves_the_provider_usable(subject: Subject) -> None:
    stream = subject.provider.generate_stream(asked(), model=subject.model)
    assert (await anext(stream)).completion is None
    await stream.aclose()
    answer = await subject.provider.generate_completion(asked(), model=subject.model)
    assert answer.text


async def test_status_and_token_counts_cost_nothing(subject: Subject) -> None:
    status = await subject.provider.get_status()
    assert (status.name, status.key_present, status.reachable) == ("mine", True, True)
    short = await subject.provider.count_tokens(asked(), model=subject.model)
    long = await subject.provider.count_tokens(asked("word " * 500), model=subject.model)
    assert 0 < short < long


async def test_a_completion_survives_pickle_and_json(subject: Subject) -> None:
    answer = await subject.provider.generate_completion(asked(), model=subject.model)
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert type(answer).model_validate_json(answer.model_dump_json()) == answer
