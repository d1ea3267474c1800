"""AWS Bedrock through its Converse operations, for models of any vendor.

boto3 finds credentials by its own chain (keys or a bearer token in the environment, profiles, SSO,
roles) and does the signing; it blocks, so its calls run in threads of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config

from core.completion import Chunk, Completion, CompletionRequest, ProviderStatus
from core.embedding import EmbeddingRequest, Embeddings
from core.errors import (
    AuthenticationError,
    ConfigError,
    ManusError,
    ProviderConnectionError,
    ProviderRejectedError,
    ProviderTimeoutError,
)
from core.message import ThinkingPart, user
from core.provider_settings import ProviderSettings
from providers.base import BaseProvider
from providers.bedrock_answer import ConverseAccumulator, ConverseAnswer, StreamEvent, draft
from providers.bedrock_calls import BlockingCalls
from providers.bedrock_embeddings import embed
from providers.bedrock_errors import check_whole, mapped_errors
from providers.bedrock_request import is_claude, render_count, render_request, uses_output_tool
from providers.deployment import DEFAULT_MODELS

_SERVICE = "bedrock-runtime"
_MAX_CONNECTIONS = 64
_CONNECT_TIMEOUT_SECONDS = 10.0
_STATUS_TIMEOUT_SECONDS = 5.0
_TOLD = "ResponseMetadata"


class BedrockConverseProvider(BaseProvider):
    """One account in one region; ``settings`` must be resolved: with the region.

    Raises:
        ConfigError: there is no region, or no profile of the name that AWS_PROFILE has.
    """

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings.timeout_seconds)
        self._settings = settings
        self._client: Any = _session(name, settings).client(
            _SERVICE,
            endpoint_url=settings.base_url,
            config=Config(
                connect_timeout=min(_CONNECT_TIMEOUT_SECONDS, settings.timeout_seconds),
                read_timeout=settings.timeout_seconds,
                max_pool_connections=_MAX_CONNECTIONS,
                retries={"total_max_attempts": 1},
            ),
        )
        self._client.meta.events.register(f"before-parse.{_SERVICE}", check_whole)
        self._calls = BlockingCalls(self._client, _MAX_CONNECTIONS)

    async def get_status(self) -> ProviderStatus:
        """Counts the tokens of a word, which is free of charge.

        A refusal of the request itself is good news: the credentials were accepted.
        """
        model = self._settings.model or DEFAULT_MODELS["bedrock"]
        body = self._render(CompletionRequest(messages=(user("hello"),)), model)
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_SECONDS):
                await self._call(self._client.count_tokens, render_count(body))
        except (ProviderConnectionError, ProviderTimeoutError, TimeoutError) as error:
            return self._status(reachable=False, detail=str(error) or "timed out")
        except AuthenticationError as error:
            # Without a status nobody was asked: there is nothing to sign with.
            signed = "status" in error.details
            return self._status(reachable=signed or None, key=signed, detail=str(error))
        except ManusError as error:
            refused = type(error) is ProviderRejectedError
            return self._status(reachable=True, detail="" if refused else str(error))
        return self._status(reachable=True, detail="")

    async def ask_token_count(self, request: CompletionRequest, *, model: str) -> int | None:
        """Asked of the service, free of charge; ``None`` for models it does not count for."""
        body = render_count(self._render(request, model))
        try:
            async with asyncio.timeout(self._limit(request)):
                answer = await self._call(self._client.count_tokens, body)
        except TimeoutError as error:
            raise self._timed_out(request) from error
        except AuthenticationError:
            raise
        except ProviderRejectedError:
            return None
        return int(answer["inputTokens"])

    async def close(self) -> None:
        await self._calls.close()
        self._client.close()

    async def _complete(self, request: CompletionRequest, model: str) -> Completion:
        response = await self._call(self._client.converse, self._render(request, model))
        with mapped_errors(self.name):
            answer = ConverseAnswer.model_validate(response)
        return self._read(answer, response[_TOLD], request, model)

    async def _embed(self, request: EmbeddingRequest, model: str) -> Embeddings:
        with mapped_errors(self.name):
            return await embed(self.name, request, model, self._invoke)

    async def _invoke(self, model: str, body: bytes) -> tuple[bytes, dict[str, str]]:
        def call() -> tuple[bytes, dict[str, str]]:
            answer = self._client.invoke_model(
                modelId=model, body=body, contentType="application/json", accept="application/json"
            )
            return answer["body"].read(), answer[_TOLD]["HTTPHeaders"]

        with mapped_errors(self.name):
            return await self._calls.run(call)

    async def _stream(self, request: CompletionRequest, model: str) -> AsyncGenerator[Chunk, None]:
        told: dict[str, Any] = {}
        gathered = ConverseAccumulator()
        output_tool = uses_output_tool(request, model)
        produce = partial(self._events, self._render(request, model), told)
        events = self._calls.iterate(produce)
        try:
            with mapped_errors(self.name):
                async for raw in events:
                    event = StreamEvent.model_validate(raw)
                    gathered.add(event)
                    if chunk := self._chunk(event, gathered, output_tool=output_tool):
                        yield chunk
        finally:
            await events.aclose()
        if gathered.stop_reason is not None:
            yield Chunk(completion=self._read(gathered.answer(), told, request, model))

    def _events(self, body: dict[str, Any], told: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Runs in a thread. ``told`` gets what the answer's head says."""
        response = self._client.converse_stream(**body)
        told.update(response[_TOLD])
        try:
            yield from response["stream"]
        finally:
            response["stream"].close()

    async def _call(
        self, operation: Callable[..., dict[str, Any]], body: dict[str, Any]
    ) -> dict[str, Any]:
        with mapped_errors(self.name):
            return await self._calls.run(partial(operation, **body))

    def _chunk(
        self, event: StreamEvent, gathered: ConverseAccumulator, *, output_tool: bool
    ) -> Chunk | None:
        """With an output tool its arguments are the text, and any chatter around it is not."""
        block = event.content_block_delta
        if block is None or block.delta is None:
            return None
        delta = block.delta
        if delta.reasoning_content and delta.reasoning_content.text:
            part = ThinkingPart(text=delta.reasoning_content.text, provider=self.name)
            return Chunk(thinking=part)
        text = delta.text
        if output_tool:
            use = delta.tool_use if gathered.is_output(block) else None
            text = str(use.input or "") if use else ""
        return Chunk(text=text) if text else None

    def _read(
        self, answer: ConverseAnswer, told: dict[str, Any], request: CompletionRequest, model: str
    ) -> Completion:
        with mapped_errors(self.name):
            found = draft(
                answer,
                provider=self.name,
                request_id=told.get("RequestId"),
                output_tool=uses_output_tool(request, model),
            )
        return self._finish(found, model)

    def _render(self, request: CompletionRequest, model: str) -> dict[str, Any]:
        # Claude's own default, all it can write, would be held against the quota by every call;
        # of other models, what they can write is not known here.
        wanted = is_claude(model) or "max_output_tokens" in self._settings.model_fields_set
        return render_request(
            request,
            model=model,
            provider=self.name,
            default_output_tokens=self._settings.max_output_tokens if wanted else None,
        )

    def _status(self, *, reachable: bool | None, detail: str, key: bool = True) -> ProviderStatus:
        return ProviderStatus(name=self.name, key_present=key, reachable=reachable, detail=detail)


def _session(name: str, settings: ProviderSettings) -> Any:
    try:
        session: Any = boto3.Session(region_name=settings.region)
    except exceptions.ProfileNotFound as error:
        raise ConfigError(f"provider '{name}': AWS_PROFILE: {error}") from error
    # A profile may have one.
    if not session.region_name:
        raise ConfigError(f"provider '{name}': set AWS_REGION, or [providers.{name}] region")
    return session
