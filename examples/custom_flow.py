"""A flow of one's own: fixed steps, then something done with what they made.

``python examples/custom_flow.py`` runs it once; it needs no key. How it is deployed is in
docs/extending.md. Prefect reads its settings when it is imported, so the server comes first.
"""

from core.plan import Plan, PlanStep
from core.result import RunReport
from core.run import RunOptions
from core.settings import load_settings
from gateway.server import ensure_server, point_prefect_at

if __name__ == "__main__":
    settings = load_settings()
    point_prefect_at(ensure_server(settings), settings)

from prefect import flow, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from tasks.carry_out import carry_out
from tasks.request import prepare
from tasks.services import open_services
from tasks.store import NOWHERE

SUM_UP = """\
from pathlib import Path
import pandas as pd

(file,) = Path("../data").glob("*.csv")
sums = pd.read_csv(file).groupby("region")["revenue"].sum().sort_values(ascending=False)
output = sums.head(inputs["top"]).round(2).to_dict()
print(output)
"""


def digest_plan(top: int) -> Plan:
    """Any steps will do here, also agents; these need no model."""
    args = {"code": SUM_UP, "inputs": {"top": top}}
    totals = PlanStep(
        id="totals", title="Add up the regions", kind="tool", tool="python_execute", args=args
    )
    return Plan(title="Region digest", summarize=False, steps=(totals,))


@task(persist_result=False)
async def publish(report: RunReport) -> str:
    """Puts the totals where operators look; again is no harm."""
    (totals,) = (s.result.output for s in report.steps if s.result)
    lines = [f"- {region}: {revenue:,.2f}" for region, revenue in totals.items()]
    await acreate_markdown_artifact(key="region-digest", markdown="\n".join(lines))
    return "\n".join(lines)


@flow(name="region-digest", persist_result=False, result_storage=NOWHERE)
async def region_digest(
    table: str = "examples/data/sales.csv", top: int = 3
) -> "str | State[RunReport]":
    """The regions that sold the most, as an artifact."""
    run_id = str(flow_run.id)
    async with open_services() as services:
        options = RunOptions(inputs=(table,), tags=("digest",))
        key, request = prepare(services, "", digest_plan(top), options, run_id)
        report = await carry_out(services, request, key, run_id)
    if not isinstance(report, RunReport):
        return report  # failed or cancelled: the final state of this flow run, with its reasons
    return await publish(report)


if __name__ == "__main__":
    import asyncio

    print(asyncio.run(region_digest()))  # noqa: T201
