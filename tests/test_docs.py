"""What the documentation says exists, loads and can be run."""

from __future__ import annotations

import re
import struct
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from core.settings import load_settings
from gateway.cli.main import app
from tasks.check import check_plan, parse_plan
from tasks.services import open_services

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST_README = 200
LONGEST_AGENTS_PAGE = 60
LONGEST_DECISION = 50
LARGEST_IMAGE_BYTES = 250_000

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FOLDERS = (
    "core|providers|tools|agents|analytics|tasks|flows|gateway|docs|examples|tests|deployments"
)
_PATH = re.compile(rf"(?:{_FOLDERS})/[\w./-]*")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [body for found, body in _FENCE.findall(text) if found == language]


def commands(page: Path) -> Iterator[str]:
    """Every line of a code block and every piece of inline code, without a prompt."""
    text = page.read_text(encoding="utf-8")
    for _, body in _FENCE.findall(text):
        yield from (line.strip().removeprefix("$ ") for line in body.splitlines())
    yield from _CODE.findall(_FENCE.sub("", text))


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def manus() -> TyperGroup:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return command


def options_of(name: str) -> set[str]:
    """Of the command, and of those below it where it is a group."""
    command = manus().commands[name]
    below = list(command.commands.values()) if isinstance(command, TyperGroup) else []
    return {"--help"}.union(*(p.opts for one in (command, *below) for p in one.params))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_and_image_leads_somewhere(page: Path) -> None:
    dead: list[str] = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_of_the_project_that_is_named_exists(page: Path) -> None:
    named = {code for code in _CODE.findall(page.read_text("utf-8")) if _PATH.fullmatch(code)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_option_of_manus_that_is_named_exists(page: Path) -> None:
    known = manus().commands
    for line in commands(page):
        said = line.partition(" #")[0].split()
        if said[:1] != ["manus"] or len(said) == 1 or not said[1].isalpha():
            continue
        assert said[1] in known, line
        options = {word.partition("=")[0] for word in said[2:] if re.match("--?[a-z]", word)}
        assert options <= options_of(said[1]), line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_verb_of_make_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {line.split()[1] for line in commands(page) if re.match(r"make [a-z]", line)}
    assert named <= verbs


def test_the_readme_names_every_command_or_the_operations_page_does() -> None:
    pages = [ROOT / "README.md", ROOT / "docs" / "operations.md"]
    said = {tuple(line.split()[:2]) for page in pages for line in commands(page)}
    assert {name for name in manus().commands if ("manus", name) not in said} == set()


def test_the_readme_opens_with_a_picture_and_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST_README
    opening = "\n".join(lines[:12])
    assert "](docs/images/run.png)" in opening
    assert re.search(r"^make run\b", opening, re.MULTILINE)
    assert re.search(r"^make test\b", opening, re.MULTILINE)


def test_pages_that_are_read_whole_stay_short() -> None:
    limits = dict.fromkeys(sorted((ROOT / "docs" / "decisions").iterdir()), LONGEST_DECISION)
    limits[ROOT / "AGENTS.md"] = LONGEST_AGENTS_PAGE
    lengths = {page: len(page.read_text(encoding="utf-8").splitlines()) for page in limits}
    assert {name_of(page) for page, limit in limits.items() if lengths[page] > limit} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_configuration_that_is_shown_loads(page: Path, home: Path) -> None:
    home.mkdir()
    (home / ".env").touch()
    for example in blocks(page, "toml"):
        (home / "manus.toml").write_text(example, encoding="utf-8")
        assert load_settings().home == home


def test_the_configuration_of_the_readme_loads_as_it_is_meant(home: Path) -> None:
    (example,) = blocks(ROOT / "README.md", "toml")
    home.mkdir()
    (home / ".env").touch()
    (home / "manus.toml").write_text(example, encoding="utf-8")
    settings = load_settings()
    loaded = settings.model_dump(mode="json")
    assert settings.home == home
    assert settings.providers.keys() == tomllib.loads(example)["providers"].keys()
    for section in ("sandbox", "run"):
        for key, value in tomllib.loads(example)[section].items():
            if not isinstance(value, dict):
                assert loaded[section][key] == value
    named = {d.partition(":")[0] for r in settings.routes.values() for d in r.deployments}
    assert named <= settings.providers.keys()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
async def test_every_plan_that_is_shown_can_run(page: Path, home: Path) -> None:
    plans = [body for body in blocks(page, "yaml") if re.search("^steps:", body, re.MULTILINE)]
    if page.name == "README.md":
        assert plans
    if not plans:
        return
    async with open_services(load_settings(home)) as services:
        for text in plans:
            check_plan(parse_plan(text, name_of(page)), services, "default")


def test_every_image_is_a_small_png_and_is_shown() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    images = list((ROOT / "docs" / "images").iterdir())
    assert images
    for image in images:
        content = image.read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG\r\n\x1a\n"), image.name
        assert width >= 800, image.name
        assert height >= 400, image.name
        assert len(content) <= LARGEST_IMAGE_BYTES, image.name
        assert f"images/{image.name}" in shown
