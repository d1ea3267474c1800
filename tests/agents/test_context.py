"""What is left out of a conversation, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.context import Context, paired, rough_tokens, transcript
from core.message import (
    ImagePart,
    Message,
    ToolCallPart,
    ToolResultPart,
    assistant,
    system,
    user,
)

PICTURE = ImagePart(media_type="image/png", data="iVBORw0KGgo=")


def round_of(number: int, text: str = "found", images: int = 0) -> tuple[Message, Message]:
    call = ToolCallPart(id=f"c{number}", name="read", arguments={"n": number})
    result = ToolResultPart(call_id=call.id, name="read", text=text, images=(PICTURE,) * images)
    return Message(role="assistant", parts=(call,)), Message(role="tool", parts=(result,))


def context(limit: int, *rounds: tuple[Message, ...], history: tuple[Message, ...] = ()) -> Context:
    made = Context(system("Work."), user("The task."), limit, history=paired(history, rough_tokens))
    for messages in rounds:
        made.add(*messages)
    return made


def size(of: Context) -> int:
    return sum(map(rough_tokens, of.messages()))


def pictures(of: Context) -> list[int]:
    return [len(p.images) for m in of.messages() for p in m.parts if p.type == "tool_result"]


def test_nothing_is_left_out_of_what_fits() -> None:
    full = context(10_000, *[round_of(n, "x" * 300, images=1) for n in range(4)])
    before = full.messages()
    assert full.fit() == []
    assert full.messages() == before


def test_older_images_go_first() -> None:
    full = context(12_000, *[round_of(n, images=1) for n in range(8)])
    assert full.fit() == []
    assert pictures(full) == [0, 0, 0, 0, 0, 1, 1, 1]
    assert "1 image no longer shown" in str(full.messages())


def test_then_what_was_said_before_the_task_and_then_the_oldest_turns() -> None:
    said = (user("Before. " * 300), assistant("Yes. " * 200))
    full = context(2_000, *[round_of(n, "x" * 600) for n in range(4)], history=said)
    assert full.fit() == []
    assert "2 older messages" in full.messages()[1].text
    for number in range(4, 9):
        full.add(*round_of(number, "x" * 900))
    dropped = full.fit()
    calls = [c.arguments["n"] for m in full.messages() for c in m.tool_calls]
    assert calls == list(range(len(dropped), 9))
    note = full.messages()[1].text
    assert note.startswith("The task.")
    assert f"first {len(dropped)} turns" in note
    assert f"read x{len(dropped)}" in note


def test_more_is_dropped_than_is_needed_so_that_the_beginning_stays_the_same_for_a_while() -> None:
    full = context(3_000)
    changes = 0
    for number in range(60):
        full.add(*round_of(number, "x" * 600))
        changes += bool(full.fit())
    assert 3 < changes < 20


def test_a_single_result_larger_than_the_context_is_cut_in_the_middle() -> None:
    full = context(1_500, round_of(0, "begin" + "x" * 30_000 + "end"))
    full.fit()
    assert size(full) <= 1_500
    result = full.messages()[-1].parts[0]
    assert isinstance(result, ToolResultPart)
    assert result.text.startswith("begin")
    assert result.text.endswith("end")
    assert "left out" in result.text


def test_what_stands_beside_the_conversation_is_made_room_for() -> None:
    full = context(3_000, *[round_of(n, "x" * 300) for n in range(20)])
    full.fit(beside=1_500)
    assert size(full) + 1_500 <= 3_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6_000), st.integers(0, 2)), max_size=25))
def test_it_fits_keeps_its_beginning_and_whole_pairs_whatever_comes(
    rounds: list[tuple[int, int]],
) -> None:
    def shown() -> list[tuple[Message, ...]]:
        full = context(4_000)
        seen: list[tuple[Message, ...]] = []
        for number, (length, images) in enumerate(rounds):
            full.add(*round_of(number, "y" * length, images))
            full.fit()
            seen.append(full.messages())
        return seen

    seen = shown()
    assert seen == shown()
    for messages in seen:
        assert sum(map(rough_tokens, messages)) <= 4_000
        assert [m.role for m in messages[:2]] == ["system", "user"]
        assert messages[1].text.startswith("The task.")
        asked = [c.id for m in messages for c in m.tool_calls]
        answered = [p.call_id for m in messages for p in m.parts if p.type == "tool_result"]
        assert asked == answered
        assert asked


@pytest.mark.parametrize(
    "text", ["plain words of prose " * 50, "数据" * 400, "def f(x): return x\n" * 50]
)
def test_the_rough_count_is_no_less_than_what_encodings_make_of_it(text: str) -> None:
    from providers.tokens import estimate_text_tokens

    assert rough_tokens(user(text)) >= estimate_text_tokens(text)


def test_a_transcript_names_calls_and_results_within_its_limit() -> None:
    full = context(10**6, *[round_of(n, f"result {n} " + "z" * 5_000) for n in range(10)])
    text = transcript(full.rounds, limit=2_000)
    assert rough_tokens(user(text)) <= 2_100
    assert 'call read: {"n": 0}' in text
    assert "result of read" in text
