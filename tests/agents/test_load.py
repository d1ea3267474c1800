from __future__ import annotations

from pathlib import Path

import pytest

from agents.load import load_agents, parse_agent
from core.errors import ConfigError

GOOD = "---\ndescription: counts things\ntools: [terminate]\nmax_turns: 3\n---\nCount.\n"


def test_an_agent_is_one_markdown_file(tmp_path: Path) -> None:
    (tmp_path / "counter.md").write_text(GOOD, encoding="utf-8")
    agent = load_agents(tmp_path)["counter"]
    assert (agent.description, agent.max_turns, agent.prompt) == ("counts things", 3, "Count.")


def test_the_shipped_agents_load() -> None:
    assert "manus" in load_agents()


def test_a_dropped_in_file_replaces_a_shipped_agent(tmp_path: Path) -> None:
    (tmp_path / "manus.md").write_text(GOOD, encoding="utf-8")
    assert load_agents(tmp_path)["manus"].description == "counts things"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no front matter", "front matter"),
        ("---\ndescription: [\n---\nx", "line"),
        ("---\n- a\n---\nx", "mapping"),
        ("---\ndescription: x\ncolour: red\n---\nx", "unknown key 'colour'"),
        ("---\ntools: []\n---\nx", "description"),
        ("---\ndescription: x\n---\n", "prompt"),
    ],
)
def test_a_wrong_file_is_named_with_its_problem(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "wrong.md"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"wrong\.md") as caught:
        parse_agent(file)
    assert problem in str(caught.value)
