"""Where Azure is asked, with which key, and what it answers otherwise than OpenAI."""

from __future__ import annotations

import pytest

from core.completion import CompletionRequest
from core.errors import ConfigError, ContentRefusedError
from core.message import user
from core.provider_settings import Credentials, ProviderSettings
from core.settings import Settings
from providers.factory import build_router, create_provider
from tests.fakes.credentials import credentials
from tests.fakes.kinds import provider_of
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer, Fault
from tests.fakes.scripts import always

ASKED = CompletionRequest(messages=(user("hello"),), max_output_tokens=50)


def environment(server: FakeModelServer, **more: str) -> Credentials:
    return credentials(
        azure_openai_api_key="azure-key",
        azure_openai_endpoint=server.azure_url + "/",
        azure_openai_deployment="our-deployment",
        **more,
    )


async def test_with_a_version_the_path_names_the_deployment(server: FakeModelServer) -> None:
    provider = provider_of("azure", server)
    answer = await provider.generate_completion(ASKED, model="our-deployment")
    await provider.close()
    (request,) = server.requests
    path = "/openai/deployments/our-deployment/chat/completions"
    assert request.path == f"{path}?api-version=2024-10-21"
    assert request.headers["api-key"] == "azure-key"
    assert "authorization" not in request.headers
    assert request.body["max_completion_tokens"] == 50
    assert answer.deployment == "azure:our-deployment"


@pytest.mark.parametrize("version", [None, "v1", "preview"])
async def test_without_a_version_it_speaks_the_v1_api(
    version: str | None, server: FakeModelServer
) -> None:
    provider = provider_of("azure", server, api_version=version)
    await provider.generate_completion(ASKED, model="our-deployment")
    await provider.close()
    (request,) = server.requests
    query = "?api-version=preview" if version == "preview" else ""
    assert request.path == f"/openai/v1/chat/completions{query}"
    assert request.headers["authorization"] == "Bearer azure-key"
    assert request.body["model"] == "our-deployment"


async def test_an_endpoint_may_end_in_the_path_of_the_v1_api(server: FakeModelServer) -> None:
    provider = provider_of("azure", server, base_url=f"{server.azure_url}/openai/v1/")
    await provider.generate_completion(ASKED, model="our-deployment")
    await provider.close()
    assert server.requests[0].path == "/openai/v1/chat/completions"


async def test_the_responses_api_is_reached_at_the_v1_address(server: FakeModelServer) -> None:
    provider = provider_of("openai_responses", server, base_url=f"{server.azure_url}/openai/v1")
    answer = await provider.generate_completion(ASKED, model="our-deployment")
    await provider.close()
    assert server.requests[0].path == "/openai/v1/responses"
    assert answer.text == "hello"


async def test_a_stream_may_begin_with_what_the_filter_found(server: FakeModelServer) -> None:
    server.script = always(Answer(text="a longer answer than one piece", model="gpt-6-sol-2026"))
    provider = provider_of("azure", server)
    stream = provider.generate_stream(ASKED, model="our-deployment")
    chunks = [chunk async for chunk in stream]
    await provider.close()
    whole = chunks[-1].completion
    assert whole is not None
    assert (whole.text, whole.model) == ("a longer answer than one piece", "gpt-6-sol-2026")
    assert whole.usage.output_tokens > 0


async def test_its_content_filter_refuses_and_is_not_asked_elsewhere(
    server: FakeModelServer, other_server: FakeModelServer
) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation"}
    error = {"code": "content_filter", "param": "prompt", "innererror": inner, "message": "no"}
    server.script = always(Fault(status=400, body={"error": error}))
    keys = environment(server, openai_base_url=other_server.openai_url)
    router = build_router(
        Settings(credentials=keys, providers={"azure": ProviderSettings(kind="azure")})
    )
    with pytest.raises(ContentRefusedError):
        await router.generate_completion(ASKED)
    await router.close()
    assert other_server.requests == []


@pytest.mark.parametrize("variable", ["azure_openai_api_version", "openai_api_version"])
async def test_the_environment_says_all_it_needs(variable: str, server: FakeModelServer) -> None:
    router = build_router(Settings(credentials=environment(server, **{variable: "2024-10-21"})))
    answer = await router.generate_completion(ASKED)
    await router.close()
    assert router.describe() == {"default": ("azure:our-deployment",)}
    assert answer.text == "hello"
    assert server.requests[0].path.endswith(
        "our-deployment/chat/completions?api-version=2024-10-21"
    )


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("azure_openai_api_key", "AZURE_OPENAI_ENDPOINT is set, but AZURE_OPENAI_API_KEY is not"),
        ("azure_openai_endpoint", "AZURE_OPENAI_API_KEY is set, but AZURE_OPENAI_ENDPOINT is not"),
        ("azure_openai_deployment", "but AZURE_OPENAI_DEPLOYMENT is not"),
    ],
)
def test_half_of_an_environment_is_named(
    missing: str, message: str, server: FakeModelServer
) -> None:
    keys = environment(server).model_copy(update={missing: None})
    with pytest.raises(ConfigError, match=message):
        build_router(Settings(credentials=keys))


def test_an_endpoint_that_nobody_says_is_asked_for() -> None:
    keys = credentials(azure_openai_api_key="k")
    with pytest.raises(ConfigError, match=r"AZURE_OPENAI_ENDPOINT, or \[providers.mine\] base_url"):
        create_provider("mine", ProviderSettings(kind="azure"), keys)
