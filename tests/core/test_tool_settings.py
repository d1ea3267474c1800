"""What may be said of tools and sandboxes, and in which spellings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core.tool_settings import DaytonaSettings, SandboxSettings


@pytest.mark.parametrize(
    ("size", "mebibytes"), [("512m", 512), ("1g", 1024), (str(2**28), 256), ("131072K", 128)]
)
def test_a_memory_limit_is_read_in_dockers_spelling(size: str, mebibytes: int) -> None:
    assert SandboxSettings.model_validate({"memory_limit": size}).memory_mib == mebibytes


def test_a_timeout_is_another_name_of_timeout_seconds() -> None:
    assert SandboxSettings.model_validate({"timeout": 300}).timeout_seconds == 300


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"memory_limit": "much"}, "is not a size like '512m'"),
        ({"memory_limit": "1g", "memory_mib": 5}, "are the same setting"),
        ({"work_dir": "/elsewhere"}, "work_dir"),
        ({"cpu_limit": -1}, "cpu_limit"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SandboxSettings.model_validate(values)


def test_daytonas_settings_are_taken_under_both_names_of_each() -> None:
    given = {"daytona_api_key": "secret", "sandbox_image_name": "snapshot"}
    settings = DaytonaSettings.model_validate(given)
    assert settings.api_key
    assert settings.api_key.get_secret_value() == "secret"
    assert settings.image == "snapshot"
    assert "secret" not in repr(settings)
