"""Which requests are the same question."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.completion import CompletionRequest, ToolChoice, ToolDefinition
from core.fingerprint import fingerprint
from core.message import (
    ImagePart,
    Message,
    Part,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    assistant,
    system,
    user,
)
from core.untrusted import marked
from providers.deployment import Deployment
from providers.response_cache_key import request_key
from providers.route import Route

ROUTE = Route("default", (Deployment("openai", "gpt-6-sol"),))
PROVIDERS = {"openai": {"kind": "openai"}}
PIXEL = base64.b64encode(bytes(range(90))).decode()
TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"})


def key(request: CompletionRequest, route: Route = ROUTE) -> str:
    return request_key("default", route, PROVIDERS, request)


def conversation(
    call_ids: tuple[str, str] = ("a", "b"),
    signature: str = "s",
    swapped: bool = False,
    secret: str = "run",
    image: str = PIXEL,
) -> CompletionRequest:
    first, second = call_ids
    answered = (second, first) if swapped else (first, second)
    calls: tuple[Part, ...] = tuple(
        ToolCallPart(id=i, name="look", arguments={"x": 1, "y": 2}) for i in call_ids
    )
    results = tuple(
        ToolResultPart(call_id=i, name="look", text=marked(f"seen {n}", secret))
        for n, i in enumerate(answered)
    )
    thinking = ThinkingPart(text="hm", signature=signature, provider="openai")
    return CompletionRequest(
        messages=(
            system("Be brief."),
            user(marked("Look twice.", secret), ImagePart(media_type="image/png", data=image)),
            Message(role="assistant", parts=(thinking, *calls)),
            Message(role="tool", parts=results),
        ),
        tools=(TOOL,),
        temperature=0.5,
    )


@given(ids=st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True), text=st.text())
def test_ids_signatures_and_secrets_of_a_run_do_not_tell_questions_apart(
    ids: list[str], text: str
) -> None:
    other = conversation((ids[0], ids[1]), signature=text, secret=text)
    assert key(other) == key(conversation())


def test_which_call_a_result_answers_does_tell_questions_apart() -> None:
    assert key(conversation(swapped=True)) != key(conversation())


def test_an_image_is_what_it_shows_and_not_how_its_base64_is_broken() -> None:
    broken = "\n".join(PIXEL[i : i + 20] for i in range(0, len(PIXEL), 20))
    assert key(conversation(image=broken)) == key(conversation())
    other = base64.b64encode(b"other").decode()
    assert key(conversation(image=other)) != key(conversation())


CHANGES: dict[str, Any] = {
    "messages": (user("hello!"),),
    "tools": (TOOL.model_copy(update={"description": "Looks closely."}),),
    "tool_choice": ToolChoice(mode="required"),
    "parallel_tool_calls": False,
    "output_schema": {"type": "object"},
    "max_output_tokens": 9,
    "temperature": 0.1,
    "route": "other",
}
SAME: dict[str, Any] = {"timeout_seconds": 5.0, "cache_ttl_seconds": 9.0, "cache_refresh": True}


def test_every_field_of_a_request_was_considered() -> None:
    assert CHANGES.keys() | SAME.keys() == set(CompletionRequest.model_fields)


@pytest.mark.parametrize("field", CHANGES)
def test_another_value_of_what_can_change_the_answer_is_another_question(field: str) -> None:
    plain = CompletionRequest(messages=(user("hello"),), tools=(TOOL,))
    assert key(plain.model_copy(update={field: CHANGES[field]})) != key(plain)


@pytest.mark.parametrize("field", SAME)
def test_how_to_wait_and_to_cache_is_no_part_of_the_question(field: str) -> None:
    plain = CompletionRequest(messages=(user("hello"),))
    changed = plain.model_copy(update={field: SAME[field]})
    assert key(changed) == key(plain)
    if field != "timeout_seconds":
        assert fingerprint(changed) == fingerprint(plain), "nor of a durable record's"


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_other_words_or_other_bounds_between_messages_are_other_questions(
    one: list[str], other: list[str]
) -> None:
    keys = [key(CompletionRequest(messages=tuple(map(user, texts)))) for texts in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_who_said_it_matters() -> None:
    keys = {key(CompletionRequest(messages=(say("hi"),))) for say in (user, system, assistant)}
    assert len(keys) == 3
