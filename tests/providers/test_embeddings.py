"""Vectors in the order of their texts, of one model, from whoever makes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.embedding import EmbeddingRequest
from core.errors import (
    AllDeploymentsFailedError,
    MalformedAnswerError,
    OverloadedError,
    ProviderRejectedError,
    ProviderTimeoutError,
    UnsupportedError,
)
from core.ports import FailedTry
from core.provider_settings import ProviderKind, RouteSettings
from core.settings import Settings
from providers.factory import build_router
from providers.openai_embeddings import batches
from providers.router import DeploymentRouter
from tests.fakes.credentials import credentials
from tests.fakes.kinds import provider_of, settings_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault, RecordedRequest, ScriptedUsage
from tests.fakes.scripts import always
from tests.fakes.wire_embeddings import vector_of

SMALL = "text-embedding-3-small"
MAKERS: tuple[tuple[ProviderKind, str], ...] = (
    ("openai", SMALL),
    ("openai_responses", SMALL),
    ("azure", SMALL),
    ("google", "gemini-embedding-001"),
    ("openrouter", "openai/text-embedding-3-small"),
    ("ollama", "nomic-embed-text"),
    ("vllm", "house-embed"),
    ("bedrock", "amazon.titan-embed-text-v2:0"),
    ("bedrock", "cohere.embed-multilingual-v3"),
)
TEXTS = tuple(f"text {i}" for i in range(230))
COUNTED = Answer(usage=ScriptedUsage(input=7))


@pytest.mark.parametrize(("kind", "model"), MAKERS)
async def test_every_text_gets_its_own_vector(
    server: FakeModelServer, kind: ProviderKind, model: str
) -> None:
    server.script = always(COUNTED)
    provider = provider_of(kind, server)
    try:
        answer = await provider.generate_embeddings(EmbeddingRequest(texts=TEXTS), model=model)
    finally:
        await provider.close()
    assert answer.vectors == tuple(vector_of(text) for text in TEXTS)
    assert (answer.provider, answer.deployment) == (kind, f"{kind}:{model}")
    assert answer.usage.input_tokens == 7 * len(server.requests)
    assert answer.latency_seconds > 0


@pytest.mark.parametrize(("kind", "model"), MAKERS)
async def test_shorter_vectors_are_asked_for(
    server: FakeModelServer, kind: ProviderKind, model: str
) -> None:
    provider = provider_of(kind, server)
    try:
        request = EmbeddingRequest(texts=("a",), dimensions=3)
        answer = await provider.generate_embeddings(request, model=model)
    finally:
        await provider.close()
    assert (answer.vectors, answer.dimensions) == ((vector_of("a", 3),), 3)


@pytest.mark.parametrize(("kind", "model"), MAKERS)
async def test_errors_are_those_of_every_other_call(
    server: FakeModelServer, kind: ProviderKind, model: str
) -> None:
    provider = provider_of(kind, server)
    asked = EmbeddingRequest(texts=("a", "b"), timeout_seconds=0.2)
    try:
        for reply, expected in (
            (Fault(status=503), OverloadedError),
            (Fault(status=400), ProviderRejectedError),
            (Fault(kind="invalid_json"), MalformedAnswerError),
            (Fault(kind="hang"), ProviderTimeoutError),
        ):
            server.script = always(reply)
            with pytest.raises(expected):
                await provider.generate_embeddings(asked, model=model)
    finally:
        await provider.close()


@pytest.mark.parametrize("kind", ["anthropic", "groq", "deepseek"])
async def test_who_makes_none_says_so_without_being_asked(
    server: FakeModelServer, kind: ProviderKind
) -> None:
    provider = provider_of(kind, server)
    try:
        with pytest.raises(UnsupportedError, match="makes no embeddings"):
            await provider.generate_embeddings(EmbeddingRequest(texts=("a",)), model="m")
    finally:
        await provider.close()
    assert server.requests == []


async def test_a_model_of_bedrock_that_embeds_nothing_is_named(server: FakeModelServer) -> None:
    provider = provider_of("bedrock", server)
    try:
        with pytest.raises(UnsupportedError, match="nova-pro"):
            await provider.generate_embeddings(
                EmbeddingRequest(texts=("a",)), model="amazon.nova-pro-v1:0"
            )
    finally:
        await provider.close()


async def test_cohere_is_told_what_the_vectors_are_for(server: FakeModelServer) -> None:
    provider = provider_of("bedrock", server)
    try:
        for purpose in ("document", "query"):
            await provider.generate_embeddings(
                EmbeddingRequest(texts=("a",), purpose=purpose), model="cohere.embed-english-v3"
            )
    finally:
        await provider.close()
    kinds = [request.body["input_type"] for request in server.requests]
    assert kinds == ["search_document", "search_query"]


@given(
    texts=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=30),
    most=st.integers(1, 7),
    chars=st.integers(1, 20),
)
def test_batches_keep_order_and_bounds(texts: list[str], most: int, chars: int) -> None:
    found = [list(batch) for batch in batches(texts, most, chars)]
    assert [text for batch in found for text in batch] == texts
    for batch in found:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(map(len, batch)) <= chars


@asynccontextmanager
async def routed(server: FakeModelServer, *deployments: str) -> AsyncGenerator[DeploymentRouter]:
    kinds: tuple[ProviderKind, ...] = ("openai", "azure", "openrouter", "anthropic")
    settings = Settings(
        credentials=credentials(),
        providers={kind: settings_of(kind, server, model="m") for kind in kinds},
        routes={"index": RouteSettings(deployments=deployments)},
    )
    router = build_router(settings)
    try:
        yield router
    finally:
        await router.close()


async def test_another_deployment_of_the_same_model_takes_over(server: FakeModelServer) -> None:
    def script(request: RecordedRequest) -> Answer | Fault:
        return Fault(status=503) if "api-version" in request.path else COUNTED

    server.script = script
    failed: list[FailedTry] = []
    asked = EmbeddingRequest(texts=("a",), route="index")
    async with routed(server, f"azure:{SMALL}", f"openai:{SMALL}") as router:
        answer = await router.generate_embeddings(asked, on_failed_try=failed.append)
    assert [f.deployment for f in failed] == [f"azure:{SMALL}"]
    assert (answer.deployment, answer.try_index) == (f"openai:{SMALL}", 1)
    assert answer.cost_usd == Decimal(7) * Decimal("0.02") / 1_000_000
    assert answer.cost_source == "genai-prices"


async def test_vectors_of_another_model_are_never_given_instead(server: FakeModelServer) -> None:
    server.script = always(Fault(status=503))
    large = "openai:text-embedding-3-large"
    async with routed(server, f"azure:{SMALL}", large) as router:
        with pytest.raises(AllDeploymentsFailedError):
            await router.generate_embeddings(EmbeddingRequest(texts=("a",), route="index"))
        assert [request.model for request in server.requests] == [SMALL]
        server.script = always(COUNTED)
        asked = EmbeddingRequest(texts=("a",), route="index", model="text-embedding-3-large")
        assert (await router.generate_embeddings(asked)).deployment == large
        with pytest.raises(UnsupportedError, match="no deployment of model 'nomic'"):
            await router.generate_embeddings(asked.model_copy(update={"model": "nomic"}))


async def test_the_same_model_under_a_vendor_s_prefix_is_the_same(server: FakeModelServer) -> None:
    def script(request: RecordedRequest) -> Answer | Fault:
        return COUNTED if "/" in request.model else Fault(status=503)

    server.script = script
    async with routed(server, f"openai:{SMALL}", f"openrouter:openai/{SMALL}") as router:
        answer = await router.generate_embeddings(EmbeddingRequest(texts=("a",), route="index"))
    assert answer.deployment == f"openrouter:openai/{SMALL}"


async def test_who_makes_no_embeddings_is_passed_over(server: FakeModelServer) -> None:
    server.script = always(COUNTED)
    async with routed(server, f"anthropic:{SMALL}", f"openai:{SMALL}") as router:
        answer = await router.generate_embeddings(EmbeddingRequest(texts=("a",), route="index"))
    assert answer.deployment == f"openai:{SMALL}"
