"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
FOLDERS = [*PACKAGES, "tests", "examples"]
LONGEST_MODULE = 300
LONGEST_TEST_MODULE = 500

# Azure and compatible endpoints speak through the same SDK as OpenAI.
SDK_MODULES = {
    "openai": ("openai*", "azure*"),
    "anthropic": ("anthropic*",),
    "boto3": ("bedrock*",),
    "botocore": ("bedrock*",),
}


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imported_distributions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_modules_stay_short_enough_to_read() -> None:
    too_long: list[str] = []
    for path in modules():
        limit = LONGEST_TEST_MODULE if ROOT / "tests" in path.parents else LONGEST_MODULE
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > limit:
            too_long.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {limit}")
    assert too_long == []


def test_each_sdk_is_imported_by_its_own_providers_only() -> None:
    strays: list[str] = []
    for path in (ROOT / "providers").rglob("*.py"):
        for name in set(imported_distributions(path)) & SDK_MODULES.keys():
            if not any(fnmatch(path.stem, pattern) for pattern in SDK_MODULES[name]):
                strays.append(f"{path.relative_to(ROOT)} imports {name}")
    assert strays == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_ours_and_not_a_namesake_of_another_distribution(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).parent == ROOT / package


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_pins_by_hash_and_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.findall(r"^[a-z0-9._-]+==.*(?:\n +--hash=sha256:[0-9a-f]{64}.*)+", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-zA-Z]", text, re.MULTILINE)) > 50


def test_development_lock_holds_every_pin_of_the_runtime_lock() -> None:
    runtime, development = (
        set(re.findall(r"^\S+==\S+", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))
        for lock in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime < development
