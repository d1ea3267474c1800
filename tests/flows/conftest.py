"""Runs of the real flow on the session's server, against a scripted model over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from core.errors import RunFailedError
from core.plan import Plan
from core.result import RunReport
from core.run import RunOptions
from core.usage import UsageEvent
from flows.planning import plan_and_run
from tasks.services import open_services, using
from tests.fakes.model_server import FakeModelServer
from tests.fakes.script import Answer
from tests.fakes.scripts import always
from tests.flows.evidence import rows
from tools.base import BaseTool


@dataclass
class Stage:
    """A MANUS_HOME, a scripted model behind OPENAI_BASE_URL, and a way to run things."""

    home: Path
    model: FakeModelServer
    tools: list[BaseTool] = field(default_factory=list[BaseTool])

    async def run(self, plan: Plan | None = None, **options: Any) -> tuple[State[Any], RunReport]:
        """Runs to the end; the report is there whether the run completed or failed."""
        goal = options.pop("goal", "")
        flow: Any = plan_and_run  # Prefect types return_state for sync flows only
        async with open_services() as services:
            services.tools.add(*self.tools)
            with using(services):
                state: State[Any] = await flow(
                    goal=goal, plan=plan, options=RunOptions(**options), return_state=True
                )
        outcome = await state.aresult(raise_on_failure=False)
        if isinstance(outcome, RunFailedError):
            outcome = outcome.details["report"]
        if not isinstance(outcome, RunReport):
            raise outcome
        return state, outcome

    async def resume(self, report: RunReport, **options: Any) -> tuple[State[Any], RunReport]:
        return await self.run(resume_from=report.run_key, **options)

    def rows(self, report: RunReport) -> tuple[UsageEvent, ...]:
        return rows(self.home, report.run_key)


@pytest.fixture
async def stage(flow_home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Stage]:
    async with FakeModelServer(always(Answer(text="hello"))) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield Stage(flow_home, model)


async def graph_edges(flow_run_id: str) -> set[tuple[str, str]]:
    """The edges between steps in the graph that the UI draws, by the steps' names."""
    async with get_client() as client:
        answer = await client._client.get(f"/flow_runs/{flow_run_id}/graph-v2")  # pyright: ignore[reportPrivateUsage]
    nodes = {node["id"]: node for _, node in answer.json()["nodes"]}
    return {
        (nodes[parent["id"]]["label"], node["label"])
        for node in nodes.values()
        for parent in node["parents"]
        if parent["id"] in nodes
    }


async def artifact_keys(flow_run_id: str) -> set[str]:
    """The kinds of artifacts of a flow run, by the first word of their keys."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)])
            )
        )
    return {str(a.key).partition("-")[0] for a in found}
