"""What a scripted model is asked and how it answers, whatever protocol carries it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

Protocol = Literal[
    "openai",
    "responses",
    "anthropic",
    "bedrock",
    "google",
    "embeddings",
    "bedrock_embeddings",
    "other",
]
Outcome = Literal["open", "answered", "client_gone", "fault"]


@dataclass(slots=True)
class RecordedRequest:
    """One request as it arrived; the times and the outcome are filled in as it is served.

    ``monotonic`` times are this machine's ``time.monotonic``, comparable between processes.
    """

    index: int
    protocol: Protocol
    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    started_monotonic: float
    started_wall: float
    ended_monotonic: float | None = None
    ended_wall: float | None = None
    outcome: Outcome = "open"

    @property
    def streamed(self) -> bool:
        by_path = ("/converse-stream", ":streamGenerateContent?alt=sse")
        return bool(self.body.get("stream")) or self.path.endswith(by_path)

    @property
    def model(self) -> str:
        if self.protocol.startswith("bedrock"):
            return unquote(self.path.split("/")[2])
        if self.protocol == "google":
            return unquote(self.path.rpartition("/")[2].partition(":")[0])
        return str(self.body.get("model", ""))

    @property
    def tool_names(self) -> tuple[str, ...]:
        tools: list[dict[str, Any]] = self._tool_config.get("tools") or self.body.get("tools") or []
        tools = [f for t in tools for f in t.get("functionDeclarations", [t])]
        wrapped = (tool.get("function") or tool.get("toolSpec") or tool for tool in tools)
        return tuple(str(tool["name"]) for tool in wrapped)

    @property
    def tool_choice(self) -> Any:
        """What is said of which tools may be called, in the protocol's own words."""
        config = self._tool_config
        calling = config.get("functionCallingConfig", {}).get("mode")
        return config.get("tool_choice") or config.get("toolChoice") or calling

    @property
    def messages(self) -> list[dict[str, Any]]:
        body = self.body
        return body.get("messages") or body.get("input") or body.get("contents") or []

    @property
    def system(self) -> str:
        """The system prompt, wherever the protocol puts it."""
        if self.protocol in ("anthropic", "bedrock"):
            return _text(self.body.get("system", ""))
        if self.protocol == "google":
            return _text(self.body.get("systemInstruction", {}).get("parts"))
        return "\n".join(_text(m["content"]) for m in self.messages if m.get("role") == "system")

    @property
    def last_text(self) -> str:
        """The text of the last message, tool results included."""
        last = self.messages[-1] if self.messages else {}
        return _text(last.get("content") or last.get("output") or last.get("parts"))

    @property
    def text(self) -> str:
        """The whole body as JSON, to tell requests apart by what they say."""
        return json.dumps(self.body, ensure_ascii=False)

    @property
    def _tool_config(self) -> dict[str, Any]:
        return self.body.get("toolConfig") or self.body


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks: list[Any] = content or []
    return "\n".join(
        str(b["text"])
        if "text" in b
        else _text(b.get("toolResult", b).get("content") or _response(b))
        for b in blocks
        if b
    ).strip()


def _response(block: dict[str, Any]) -> str:
    """What a tool said, as Gemini is told."""
    return " ".join(str(v) for v in block.get("functionResponse", {}).get("response", {}).values())


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call; ``arguments`` as a string goes to the wire as it is, valid JSON or not."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    id: str | None = None

    @property
    def raw_arguments(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class ScriptedUsage:
    """Tokens; ``input`` includes what was read from and written to the provider's cache."""

    input: int = 12
    output: int = 7
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's turn. ``latency_seconds`` overrides the server's own."""

    text: str = ""
    tool_calls: tuple[ScriptedCall, ...] = ()
    thinking: str = ""
    signature: str = "c2lnbmF0dXJl"
    usage: ScriptedUsage = ScriptedUsage()
    stop: Literal["end", "tool_calls", "length", "refusal"] | None = None
    model: str | None = None
    latency_seconds: float | None = None
    without_ids: bool = False

    @property
    def stop_reason(self) -> str:
        return self.stop or ("tool_calls" if self.tool_calls else "end")


@dataclass(frozen=True, slots=True)
class Fault:
    """Anything but an answer.

    ``status`` answers with a status and ``body`` (by default the protocol's error object with
    ``code``). ``cut_before`` resets the connection instead of answering, ``cut_midway`` after half
    of the answer; ``hang`` never answers; ``early_end`` closes a stream in good order before its
    terminal marker; ``stream_error`` puts an error event into it; ``invalid_json`` is a 200 whose
    body is not JSON.
    """

    kind: Literal[
        "status", "cut_before", "cut_midway", "hang", "early_end", "stream_error", "invalid_json"
    ] = "status"
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Mapping[str, Any] | str | None = None
    code: str | None = None
    message: str = "scripted fault"
    latency_seconds: float | None = None


Script = Callable[[RecordedRequest], Answer | Fault]
