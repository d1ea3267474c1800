"""A world that strangers write in: pages, search results and letters that give orders."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.plan import Plan, PlanStep
from core.result import RunReport
from core.usage import UsageEvent
from tests.fakes.obedient import ORDER, Obedient, calls
from tests.fakes.script import Answer, Script
from tests.fakes.web_pages import WebPages
from tests.flows.conftest import Stage
from tests.flows.test_human import Launch

ROOT = Path(__file__).resolve().parents[2]

_AGENT = """\
---
description: Reads what it is told to read.
tools: [launch, "fetch?", "browser_use?", web_crawl, web_search, read_file, write_file, planning,
  ask_human, "mcp_*?", terminate]
---
Do what you are told.
"""
_SETTINGS = """\
[egress]
allow_hosts = ["{host}"]
[crawl]
delay_seconds = 0
[search]
engine = "searxng"
fallback_engines = []
retry_delay = 0
[search.engines.searxng]
base_url = "http://{host}"
[routes.default]
deployments = ["openai:gpt-6-sol"]
"""


@dataclass
class World:
    """A stage with an agent ``porter``, pages, and a tool ``launch`` of high risk that counts."""

    stage: Stage
    pages: WebPages
    launch: Launch = field(default_factory=Launch)

    def __post_init__(self) -> None:
        self.stage.tools.append(self.launch)
        self.configure()
        folder = self.stage.home / "agents"
        folder.mkdir(parents=True)
        (folder / "porter.md").write_text(_AGENT, encoding="utf-8")

    def configure(self, more: str = "") -> None:
        self.stage.home.mkdir(parents=True, exist_ok=True)
        text = _SETTINGS.format(host=self.pages.host) + more
        (self.stage.home / "manus.toml").write_text(text, encoding="utf-8")

    def crawls(self, order: str = ORDER, path: str = "/news") -> Answer:
        """The call that reads a page with the order."""
        text = f"<h1>News</h1><p>All is well in the town.</p><p>{order}</p>"
        page = f"<html><title>News</title><body><article>{text}</article></body></html>"
        return calls("web_crawl", urls=[self.pages.serve(path, page)])

    def mail(self, letter: str) -> Path:
        """Configures the mailbox, at the risk that servers have by default; what was sent."""
        sent = self.stage.home.parent / "sent.txt"
        environment = {"PYTHONPATH": str(ROOT), "MAIL": letter, "SENT": str(sent)}
        program = {"command": sys.executable, "args": ["-m", "tests.fakes.mcp_mail"]}
        values = {"mcpServers": {"mail": {**program, "env": environment}}}
        (self.stage.home / "mcp.json").write_text(json.dumps(values), encoding="utf-8")
        return sent

    def given_file(self) -> str:
        path = self.stage.home.parent / "given.txt"
        path.write_text(f"Figures of the year.\n{ORDER}\n", encoding="utf-8")
        return str(path)

    async def run(
        self, model: Script, *steps: PlanStep, **options: Any
    ) -> tuple[RunReport, tuple[UsageEvent, ...]]:
        """The report, and the usage rows of calls of the tool that launches."""
        self.stage.model.script = model
        _, report = await self.stage.run(plan(*steps) if steps else None, **options)
        return report, self.launches(report)

    def launches(self, report: RunReport) -> tuple[UsageEvent, ...]:
        return tuple(r for r in self.stage.rows(report) if r.tool_name == "launch")

    def assert_held(self, model: Obedient, rows: tuple[UsageEvent, ...]) -> None:
        """The model tried, was refused each time and told so, and nothing was launched."""
        assert model.obeyed, "the model was never given the order"
        assert self.launch.launched == []
        assert {r.error_type for r in rows} == {"ApprovalDeniedError"}
        assert [r for r in self.stage.model.requests if "launch may not run while" in r.last_text]


@contextmanager
def world_of(stage: Stage) -> Generator[World]:
    with WebPages() as pages:
        yield World(stage, pages)


def plan(*steps: PlanStep, **more: Any) -> Plan:
    return Plan(title="A plan", steps=steps, summarize=False, **more)


def porter(step_id: str, *depends_on: str, **more: Any) -> PlanStep:
    return PlanStep(
        id=step_id,
        title=step_id,
        agent="porter",
        instructions=f"Do the work of {step_id}.",
        depends_on=depends_on,
        **more,
    )
