"""What an operator sees of a run in the Prefect UI beyond its bars: artifacts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from core.plan import Plan
from core.result import StepStatus
from tasks.progress import Progress, RunEvent
from tasks.run import Run

REFRESH_SECONDS = 2.0


class PlanBoard:
    """The plan as a table with live statuses."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self._plan = plan
        self._key = f"plan-{run.key[:8]}"
        before = {i: report.status for i, report in run.settled.items()}
        self._status = {s.id: before.get(s.id, StepStatus.NOT_STARTED) for s in plan.steps}
        self._turns: dict[str, int] = {}
        self._reasons: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._artifact_id: UUID | None = None
        run.listeners.append(self._note)

    def _note(self, progress: RunEvent) -> None:
        if not isinstance(progress, Progress) or progress.step_id not in self._status:
            return
        if progress.status:
            self._status[progress.step_id] = progress.status
        if progress.turn:
            self._turns[progress.step_id] = progress.turn
        if progress.reason:
            self._reasons[progress.step_id] = progress.reason
        self._changed.set()

    def rows(self) -> list[dict[str, str | int]]:
        return [
            {
                "step": s.id,
                "title": s.title,
                "status": self._status[s.id].value,
                "turns": self._turns.get(s.id, 0),
                "needs": ", ".join(s.depends_on),
                "reason": self._reasons.get(s.id, "")[:500],
            }
            for s in self._plan.steps
        ]

    @asynccontextmanager
    async def live(self) -> AsyncGenerator[None]:
        """Keeps the table up to date, at most every ``REFRESH_SECONDS``, and once at the end.

        Nobody waits for the table while there is work to do.
        """
        refresher = asyncio.create_task(self._refresh())
        try:
            yield
        finally:
            refresher.cancel()
            await asyncio.gather(refresher, return_exceptions=True)
            await self._write()

    async def _refresh(self) -> None:
        while True:
            await self._write()
            await asyncio.sleep(REFRESH_SECONDS)
            await self._changed.wait()
            self._changed.clear()

    async def _write(self) -> None:
        """A table that cannot be drawn must not stop the work it shows."""
        try:
            if self._artifact_id is None:
                title = f"{self._plan.title} (version {self._plan.version})"
                self._artifact_id = await acreate_table_artifact(
                    self.rows(), key=self._key, description=title
                )
                return
            update = ArtifactUpdate(data=json.dumps(self.rows()))
            async with get_client() as client:
                await client.update_artifact(self._artifact_id, update)
        except HTTPError as error:
            get_run_logger().warning("the plan table could not be written: %s", error)
