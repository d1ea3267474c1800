"""What a model is shown of a conversation: as much as fits its context window.

Deterministic: what is left out depends on the messages and the limit alone, so that a replay asks
the same questions. When the limit is passed, more is dropped than is needed at that moment, for
with every turn that loses something at its beginning a provider's prompt cache is lost too.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from core.message import ImagePart, Message, Part, TextPart, ThinkingPart, ToolCallPart
from core.message import ToolResultPart as Result

TokenCounter = Callable[[Message], int]

KEPT_ROUNDS = 3
"""Of the newest turns, which are dropped last of all and whose images stay."""
TARGET_SHARE = 0.6
"""Of the limit: where dropping stops."""
RESULT_CHARS = (8_000, 4_000, 2_000, 1_000, 500)
"""What single results are cut to, one after the other, where turns alone do not suffice."""
TOKENS_PER_IMAGE = 1_600
TOKENS_PER_MESSAGE = 4
_MARKS = re.compile(r"[^A-Za-z0-9 ]")


def rough_tokens(message: Message) -> int:
    """Rather too many than too few, without any encoding."""
    return TOKENS_PER_MESSAGE + sum(_part_tokens(part) for part in message.parts)


def text_tokens(text: str) -> int:
    """As ``rough_tokens``, of a text.

    Three characters of a word make a token, every character beyond ASCII is one, and seven tenths
    of the marks are.
    """
    plain = text.encode("ascii", "ignore").decode()
    marks = len(_MARKS.findall(plain))
    return math.ceil((len(plain) - marks) / 3 + marks * 0.7) + len(text) - len(plain)


def _part_tokens(part: Part) -> int:
    match part:
        case ImagePart():
            return TOKENS_PER_IMAGE
        case TextPart():
            return text_tokens(part.text)
        case ThinkingPart():
            opaque = len(part.signature or "") + len(part.redacted or "")
            return text_tokens(part.text) + opaque // 3
        case ToolCallPart():
            return text_tokens(part.name + json.dumps(part.arguments, ensure_ascii=False))
        case Result():
            return text_tokens(part.text) + TOKENS_PER_IMAGE * len(part.images)


@dataclass(frozen=True, slots=True)
class Round:
    """What belongs together: an assistant's message and the answers to all its calls."""

    messages: tuple[Message, ...]
    tokens: int

    @classmethod
    def of(cls, messages: Sequence[Message], count: TokenCounter) -> Round:
        return cls(tuple(messages), sum(map(count, messages)))

    def with_results(self, change: Callable[[Result], Result], count: TokenCounter) -> Round:
        return Round.of([_map_results(m, change) for m in self.messages], count)


@dataclass(slots=True)
class Context:
    """A conversation that grows by rounds and never loses its system and task messages.

    ``limit`` is in tokens as ``count`` counts them. ``history`` is what was said before the task.
    """

    system: Message
    task: Message
    limit: int
    count: TokenCounter = rough_tokens
    history: list[Round] = field(default_factory=list[Round])
    rounds: list[Round] = field(default_factory=list[Round])
    summary: str = ""
    _dropped_turns: int = 0
    _dropped_calls: Counter[str] = field(default_factory=Counter[str])
    _dropped_earlier: int = 0

    def add(self, *messages: Message) -> None:
        """Adds one round."""
        self.rounds.append(Round.of(messages, self.count))

    def messages(self) -> tuple[Message, ...]:
        """What the model is to see."""
        rounds = _flat(self.rounds)
        return (self.system, *_flat(self.history), self._noted_task(), *rounds)

    def fit(self, beside: int = 0) -> list[Round]:
        """Makes room where the limit is passed; returns the rounds that were dropped.

        In this order: images of all but the newest rounds, what was said before the task, the
        oldest rounds, and at last the middles of long results, the oldest first.

        Args:
            beside: tokens of the request that are not in the conversation.
        """
        if self._tokens() + beside <= self.limit:
            return []
        target = max(0, int(self.limit * TARGET_SHARE) - beside)
        old = len(self.rounds) - KEPT_ROUNDS
        self._change_results(range(old), _without_images)
        while self.history and self._tokens() > target:
            self._dropped_earlier += len(self.history.pop(0).messages)
        dropped: list[Round] = []
        while len(self.rounds) > KEPT_ROUNDS and self._tokens() > target:
            dropped.append(self.rounds.pop(0))
        self._count_dropped(dropped)
        self._cut_results(max(0, self.limit - beside))
        return dropped

    def _cut_results(self, target: int) -> None:
        changes: list[Callable[[Result], Result]] = [partial(_cut, c) for c in RESULT_CHARS]
        for change in (*changes, _without_images):
            for index in range(len(self.rounds)):
                if self._tokens() <= target:
                    return
                self._change_results([index], change)

    def _change_results(self, which: Iterable[int], change: Callable[[Result], Result]) -> None:
        for index in which:
            self.rounds[index] = self.rounds[index].with_results(change, self.count)

    def _tokens(self) -> int:
        opening = self.count(self.system) + self.count(self._noted_task())
        return opening + sum(r.tokens for r in (*self.history, *self.rounds))

    def _count_dropped(self, dropped: Sequence[Round]) -> None:
        self._dropped_turns += len(dropped)
        calls = (c.name for r in dropped for m in r.messages for c in m.tool_calls)
        self._dropped_calls.update(calls)

    def _noted_task(self) -> Message:
        note = self._note()
        parts = (*self.task.parts, TextPart(text=f"\n{note}")) if note else self.task.parts
        return self.task.model_copy(update={"parts": parts})

    def _note(self) -> str:
        """What is no longer shown, for the model to know that there was more."""
        lines: list[str] = []
        if self._dropped_earlier:
            lines.append(f"[{self._dropped_earlier} older messages of this conversation left out]")
        if self._dropped_turns:
            calls = ", ".join(f"{name} x{n}" for name, n in sorted(self._dropped_calls.items()))
            lines.append(
                f"[Your first {self._dropped_turns} turns on this task are left out to fit the "
                f"context. They called: {calls or 'nothing'}. What they did stays done, and files "
                "they wrote are still there.]"
            )
        if self.summary:
            lines.append(f"[Summary of what is left out:\n{self.summary}]")
        return "\n".join(lines)


def transcript(rounds: Iterable[Round], limit: int) -> str:
    """Rounds as text for a summary, cut in the middle to about ``limit`` tokens."""
    lines: list[str] = []
    for message in _flat(rounds):
        for part in message.parts:
            match part:
                case TextPart() if part.text:
                    lines.append(f"{message.role}: {part.text}")
                case ToolCallPart():
                    arguments = json.dumps(part.arguments, ensure_ascii=False)
                    lines.append(f"call {part.name}: {cut_in_middle(arguments, 2_000)}")
                case Result():
                    kind = "error" if part.is_error else "result"
                    lines.append(f"{kind} of {part.name}: {cut_in_middle(part.text, 4_000)}")
                case _:
                    pass
    text = "\n".join(lines)
    characters = len(text) * limit // max(1, text_tokens(text))
    return cut_in_middle(text, characters)


def cut_in_middle(text: str, characters: int) -> str:
    """Its beginning and its end, and how much is missing between them."""
    if len(text) <= characters:
        return text
    half = characters // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[... {left_out} characters left out ...]\n{text[len(text) - half :]}"


def _flat(rounds: Iterable[Round]) -> list[Message]:
    return [message for r in rounds for message in r.messages]


def _map_results(message: Message, change: Callable[[Result], Result]) -> Message:
    if message.role != "tool":
        return message
    parts = tuple(change(p) if isinstance(p, Result) else p for p in message.parts)
    return message.model_copy(update={"parts": parts})


def _cut(characters: int, result: Result) -> Result:
    return result.model_copy(update={"text": cut_in_middle(result.text, characters)})


def _without_images(result: Result) -> Result:
    if not result.images:
        return result
    number = f"{len(result.images)} image{'s' if len(result.images) > 1 else ''}"
    text = f"{result.text}\n[{number} no longer shown]"
    return result.model_copy(update={"text": text, "images": ()})


def paired(history: Iterable[Message], count: TokenCounter) -> list[Round]:
    """Earlier messages in rounds that begin with the user's."""
    groups: list[list[Message]] = []
    for message in history:
        if message.role == "user" or not groups:
            groups.append([])
        groups[-1].append(message)
    return [Round.of(group, count) for group in groups]
