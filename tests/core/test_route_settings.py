"""Routes, rate limits and capabilities as ``manus.toml`` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigError
from core.settings import load_settings

WHOLE = """
[routes.fast]
strategy = "weighted"
deployments = ["work:small", { deployment = "work:large", weight = 3 }, { deployment = "other" }]
fallbacks = ["slow"]
hedge_after_seconds = "p95"
queue_priority = 2

[routes.slow]
deployments = ["work:large"]
hedge_after_seconds = 1.5

[limits."work:large"]
rpm = 60
tpm = 90000

[capabilities.work]
vision = false
"""


def write(home: Path, text: str) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    (home / "manus.toml").write_text(text, encoding="utf-8")
    return home


def test_everything_of_a_route_is_read(home: Path) -> None:
    settings = load_settings(write(home, WHOLE))
    fast, slow = settings.routes["fast"], settings.routes["slow"]
    assert fast.deployments == ("work:small", "work:large", "other")
    assert fast.weights == {"work:large": 3.0, "other": 1.0}
    assert (fast.strategy, fast.fallbacks, fast.queue_priority) == ("weighted", ("slow",), 2)
    assert (fast.hedge_after_seconds, slow.hedge_after_seconds) == ("p95", 1.5)
    assert slow.strategy == "priority"
    assert settings.limits["work:large"].tpm == 90_000
    assert settings.capabilities["work"].vision is False
    assert settings.capabilities["work"].tools is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("strategy = 'best'", "routes.r.strategy"),
        ("weights = { a = 1 }", "weights need strategy = 'weighted'"),
        ("strategy = 'weighted'\nweights = { b = 1 }", "a weight for 'b'"),
        ("hedge_after_seconds = 0", "routes.r.hedge_after_seconds"),
        ("hedge_after_seconds = 'p50'", "routes.r.hedge_after_seconds"),
        ("fallbacks = ['Not A Name']", "routes.r.fallbacks"),
    ],
)
def test_what_is_wrong_with_a_route_is_named(home: Path, text: str, problem: str) -> None:
    write(home, f"[routes.r]\ndeployments = ['a']\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(home)
    assert problem in str(caught.value)
    assert str(home / "manus.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{ deployment = 'a', wieght = 2 }", "unknown key 'wieght'"),
        ("{ deployment = 'a', weight = -1 }", "routes.r.weights.a"),
        ("{ name = 'a' }", "routes.r.deployments.0"),
    ],
)
def test_what_is_wrong_with_a_weight_is_named(home: Path, entry: str, problem: str) -> None:
    write(home, f"[routes.r]\nstrategy = 'weighted'\ndeployments = [{entry}]\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(home)
    assert problem in str(caught.value)
