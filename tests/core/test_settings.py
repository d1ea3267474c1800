from __future__ import annotations

import os
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.settings import load_settings

OURS = ("MANUS_", "OPENAI_", "ANTHROPIC_")


@pytest.fixture(autouse=True)
def clean_environment() -> Generator[None]:
    """Reading ``.env`` changes the process's environment, which is put back as it was."""
    former = dict(os.environ)
    for name in former:
        if name.startswith(OURS):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(former)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with both files, empty: what stands in the project's root is then not looked at."""
    (tmp_path / "manus.toml").touch()
    (tmp_path / ".env").touch()
    return tmp_path


def write(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.write_text(text, encoding="utf-8")
    return path


def test_empty_files_give_the_defaults(home: Path) -> None:
    settings = load_settings(home)
    assert settings.home == home
    assert settings.run.max_parallel_steps == 16
    assert settings.providers == {}
    assert settings.credentials.openai_api_key is None


def test_the_file_is_read_into_typed_values(home: Path) -> None:
    write(
        home,
        "manus.toml",
        """
        [providers.work]
        kind = "openai"
        input_usd_per_million = "0.25"
        [routes.fast]
        deployments = ["work:small", "work:large"]
        [run.budget]
        max_cost_usd = "1.5"
        """,
    )
    settings = load_settings(home)
    assert settings.providers["work"].input_usd_per_million == Decimal("0.25")
    assert settings.routes["fast"].deployments == ("work:small", "work:large")
    assert settings.run.budget.max_cost_usd == Decimal("1.5")


def test_a_provider_that_is_named_like_a_kind_is_of_that_kind(home: Path) -> None:
    os.environ["MANUS_PROVIDERS__OPENAI__MODEL"] = "gpt-6-luna"
    write(home, "manus.toml", '[providers.groq]\n[providers.ollama]\nkind = "openai"')
    providers = load_settings(home).providers
    assert (providers["openai"].kind, providers["openai"].model) == ("openai", "gpt-6-luna")
    assert (providers["groq"].kind, providers["ollama"].kind) == ("groq", "openai")


def test_another_name_must_say_its_kind(home: Path) -> None:
    write(home, "manus.toml", "[providers.house]\nmodel = 'x'")
    with pytest.raises(ConfigError, match=r"providers\.house\.kind"):
        load_settings(home)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("typo = 1", "typo"),
        ("[run]\nmax_paralel_steps = 2", "run.max_paralel_steps"),
        ("[run.budget]\nmax_usd = 2", "run.budget.max_usd"),
        ('[providers.p]\nkind = "openai"\nurl = "x"', "providers.p.url"),
        ("home = '/elsewhere'", "home"),
        ("[credentials]\nopenai_api_key = 'x'", "credentials"),
    ],
)
def test_an_unknown_key_is_named_with_its_file(home: Path, text: str, key: str) -> None:
    file = write(home, "manus.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_settings(home)
    assert str(file) in str(caught.value)
    assert f"unknown key '{key}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[run]\nmax_parallel_steps = 0", "run.max_parallel_steps"),
        ('[providers.p]\nkind = "telepathy"', "providers.p.kind"),
        ("[routes.r]\ndeployments = []", "routes.r.deployments"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(home: Path, text: str, key: str) -> None:
    file = write(home, "manus.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_settings(home)
    assert str(caught.value).startswith(f"{file}: {key}")


@pytest.mark.parametrize("content", [b"[run", b"x = '\xff'"])
def test_a_file_that_is_not_toml_is_named(home: Path, content: bytes) -> None:
    (home / "manus.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"manus\.toml"):
        load_settings(home)


def test_a_misspelt_variable_is_named(home: Path) -> None:
    os.environ["MANUS_RUM__MAX_PARALLEL_STEPS"] = "2"
    with pytest.raises(ConfigError, match="MANUS_RUM__MAX_PARALLEL_STEPS"):
        load_settings(home)


def test_a_misspelt_variable_below_a_known_section_is_refused(home: Path) -> None:
    os.environ["MANUS_RUN__MAX_PARALEL_STEPS"] = "2"
    with pytest.raises(ConfigError, match="max_paralel_steps"):
        load_settings(home)


def test_a_misspelt_variable_in_the_env_file_is_named(home: Path) -> None:
    write(home, ".env", "MANUS_SANDBOKS__BACKEND=rlimits\n")
    with pytest.raises(ConfigError, match="MANUS_SANDBOKS__BACKEND"):
        load_settings(home)


def test_the_environment_wins_over_env_file_over_toml_over_defaults(home: Path) -> None:
    write(home, "manus.toml", "[run]\nmax_parallel_steps = 2\ninfrastructure_retries = 7")
    assert load_settings(home).run.max_parallel_steps == 2
    write(home, ".env", "MANUS_RUN__MAX_PARALLEL_STEPS=3\n")
    os.environ.pop("MANUS_RUN__MAX_PARALLEL_STEPS", None)
    assert load_settings(home).run.max_parallel_steps == 3
    os.environ["MANUS_RUN__MAX_PARALLEL_STEPS"] = "4"
    settings = load_settings(home)
    assert settings.run.max_parallel_steps == 4
    assert settings.run.infrastructure_retries == 7
    assert settings.run.retry_delay_seconds == 2.0


def test_the_argument_wins_over_the_variable_for_home(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other, "manus.toml", "[run]\nmax_parallel_steps = 9")
    (other / ".env").touch()
    os.environ["MANUS_HOME"] = str(other)
    assert load_settings().home == other
    assert load_settings().run.max_parallel_steps == 9
    assert load_settings(home).home == home
    assert load_settings(home).run.max_parallel_steps == 16


def test_the_directory_one_stands_in_is_not_looked_at(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere, "manus.toml", "typo = 1")
    write(elsewhere, ".env", "OPENAI_API_KEY=stolen\n")
    former = Path.cwd()
    os.chdir(elsewhere)
    try:
        assert load_settings(home).credentials.openai_api_key is None
    finally:
        os.chdir(former)


def test_the_env_file_reaches_the_sdks_and_does_not_override_what_is_set(home: Path) -> None:
    write(home, ".env", "OPENAI_API_KEY=from-file\nANTHROPIC_API_KEY=from-file\n")
    os.environ["OPENAI_API_KEY"] = "from-shell"
    credentials = load_settings(home).credentials
    assert credentials.openai_api_key
    assert credentials.anthropic_api_key
    assert credentials.openai_api_key.get_secret_value() == "from-shell"
    assert credentials.anthropic_api_key.get_secret_value() == "from-file"
    assert os.environ["ANTHROPIC_API_KEY"] == "from-file"


def test_keys_are_not_shown(home: Path) -> None:
    os.environ["OPENAI_API_KEY"] = "sk-very-secret"
    write(home, "manus.toml", '[providers.p]\nkind = "openai"\napi_key = "sk-also-secret"')
    shown = repr(load_settings(home))
    assert "secret" not in shown.replace("SecretStr", "")


def test_settings_do_not_change_after_loading(home: Path) -> None:
    settings = load_settings(home)
    with pytest.raises(ValueError, match="frozen"):
        settings.home = home / "other"  # pyright: ignore[reportAttributeAccessIssue]
