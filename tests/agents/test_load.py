from __future__ import annotations

from pathlib import Path

import pytest

from agents.load import load_agents, parse_agent
from core.agent import AgentSpec
from core.errors import ConfigError

GOOD = "---\ndescription: counts things\ntools: [terminate]\nmax_turns: 3\n---\nCount.\n"


def test_an_agent_is_one_markdown_file(tmp_path: Path) -> None:
    (tmp_path / "counter.md").write_text(GOOD, encoding="utf-8")
    agent = load_agents(tmp_path)["counter"]
    assert (agent.description, agent.max_turns, agent.prompt) == ("counts things", 3, "Count.")


def test_the_shipped_agents_load_and_say_what_they_are_for() -> None:
    agents = load_agents()
    assert agents.keys() == {"manus", "browser", "data_analysis", "swe", "mcp", "sandbox"}
    assert len({a.description for a in agents.values()}) == len(agents)
    assert all("`terminate`" in a.prompt for a in agents.values())


def test_an_optional_tool_is_had_where_it_is_there_and_a_pattern_stands_for_all_it_fits() -> None:
    agent = spec("bash", "browser_use?", "mcp_*", "mcp_git_*?")
    there = ("mcp_git_log", "bash", "mcp_time_now", "browser_use")
    assert agent.tools_among(there) == ("bash", "browser_use", "mcp_git_log", "mcp_time_now")
    assert agent.tools_among(("bash", "mcp_a")) == ("bash", "mcp_a")


def test_a_tool_that_is_not_there_and_not_optional_keeps_its_name_to_be_missed_by() -> None:
    assert spec("bash", "hammer", "mcp_*").tools_among(("bash",)) == ("bash", "hammer", "mcp_*")


def test_one_route_or_several_are_named() -> None:
    assert spec().routes == ("default",)
    assert spec().model_copy(update={"model": ("vision", "default")}).routes == (
        "vision",
        "default",
    )


def spec(*tools: str) -> AgentSpec:
    return AgentSpec(name="a", description="d", prompt="p", tools=tools)


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
        ("---\ndescription: x\ntools: [a b]\n---\nx", "tools"),
        ("---\ndescription: x\nmodel: []\n---\nx", "model"),
        ("---\ndescription: x\noutput_schema: {type: many}\n---\nx", "output_schema"),
    ],
)
def test_a_wrong_file_is_named_with_its_problem(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "wrong.md"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"wrong\.md") as caught:
        parse_agent(file)
    assert problem in str(caught.value)
