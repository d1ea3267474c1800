"""What the documentation says on adding a provider works as it stands there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from core.completion import Chunk, CompletionRequest
from core.errors import ProviderRejectedError
from core.message import user
from core.provider_settings import Credentials, ProviderSettings
from core.settings import Settings
from providers.base import BaseProvider
from providers.factory import build_router
from tests.fakes.credentials import credentials

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"


def block(language: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## A provider") :]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def echo() -> BaseProvider:
    module = ModuleType("echo_provider")
    exec(compile(block("python"), str(PAGE), "exec"), module.__dict__)
    made = module.EchoProvider("echo", ProviderSettings(kind="vllm"))
    assert isinstance(made, BaseProvider)
    return made


def asked(text: str) -> CompletionRequest:
    return CompletionRequest(messages=(user(text),))


async def test_the_provider_of_the_page_answers(echo: BaseProvider) -> None:
    answer = await echo.generate_completion(asked("say it"), model="plain")
    assert (answer.text, answer.deployment) == ("say it", "echo:plain")
    assert answer.usage.input_tokens == 2
    assert (await echo.get_status()).reachable


async def test_the_provider_of_the_page_streams(echo: BaseProvider) -> None:
    stream = echo.generate_stream(asked("say it"), model="plain")
    chunks: list[Chunk] = [chunk async for chunk in stream]
    assert [chunk.text for chunk in chunks] == ["say ", "it ", ""]
    assert chunks[-1].completion is not None


async def test_the_provider_of_the_page_rejects_in_our_words(echo: BaseProvider) -> None:
    with pytest.raises(ProviderRejectedError):
        await echo.generate_completion(asked(" "), model="plain")


async def test_the_configuration_of_the_page_makes_a_route() -> None:
    values = tomllib.loads(block("toml"))
    router = build_router(Settings(credentials=credentials(), **values))
    await router.close()
    assert router.describe() == {"default": ("house:house-model",)}


def test_the_example_of_an_environment_has_every_variable_with_a_comment() -> None:
    lines = (ROOT / "deployments" / ".env.example").read_text(encoding="utf-8").splitlines()
    named = {line.partition("=")[0] for line in lines if re.match(r"[A-Z]", line)}
    assert {name.upper() for name in Credentials.model_fields} <= named
    for paragraph in "\n".join(lines).split("\n\n"):
        assert paragraph.startswith("#")
    assert not [line for line in lines if re.match(r"[A-Z_]+=.", line)], "it configures nothing"
