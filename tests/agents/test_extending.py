"""The agent that docs/extending.md shows, taken from there, loads as it says."""

from __future__ import annotations

import re
from pathlib import Path

from agents.load import load_agents
from core.agent import AgentSpec

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "extending.md"


def test_the_agent_of_the_documentation_is_one_once_its_file_is_there(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8").partition("\n## An agent\n")[2]
    shown = re.search(r"```markdown\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert shown
    (tmp_path / "translator.md").write_text(shown[1], encoding="utf-8")
    agent = load_agents(tmp_path)["translator"]
    assert agent.prompt.startswith("You translate documents.")
    assert agent.routes == ("smart", "default")
    there = ("read_file", "write_file", "list_files", "terminate", "mcp_glossary_find")
    assert set(agent.tools_among(there)) == set(there)
    keys = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \|", text, re.MULTILINE)
    named = {key for pair in keys for key in pair if key}
    assert named == AgentSpec.model_fields.keys() - {"name", "prompt"}
