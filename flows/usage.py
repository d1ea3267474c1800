"""``usage_rollup``: usage rows become a DuckDB table, and the table a report.

Writes ``usage.duckdb`` under MANUS_HOME and two artifacts. Idempotent: rows that are in the table
already are not added again.
"""

# No postponed annotations here: Prefect may load this file under another name, and then cannot
# resolve the types of the flow's parameters from their names.

import asyncio
from datetime import UTC, datetime, timedelta

from prefect import flow, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.logging import get_run_logger

from analytics.compactor import CompactionReport, compact
from analytics.figures import Window
from analytics.reader import open_usage
from analytics.report import report, to_markdown
from core.settings import Settings, load_settings
from tasks.store import NOWHERE


@flow(name="usage-rollup", persist_result=False, result_storage=NOWHERE)
async def usage_rollup(days: int = 30) -> CompactionReport:
    """Compacts the spool and publishes a report on the last ``days`` days."""
    settings = load_settings()
    compacted = await compact_spool(settings)
    await report_usage(settings, days)
    return compacted


@task(persist_result=False, retries=2, retry_delay_seconds=5)
async def compact_spool(settings: Settings) -> CompactionReport:
    """Moves sealed segments into DuckDB, exactly once."""
    done = await asyncio.to_thread(compact, settings.home)
    get_run_logger().info("compacted: %s", done)
    return done


@task(persist_result=False)
async def report_usage(settings: Settings, days: int) -> None:
    """The usage report as an artifact of the flow run."""
    markdown = await asyncio.to_thread(_markdown, settings, days)
    await acreate_markdown_artifact(
        markdown, key="usage-report", description=f"Usage of the last {days} days"
    )


def _markdown(settings: Settings, days: int) -> str:
    window = Window(since=datetime.now(UTC) - timedelta(days=days))
    with open_usage(settings.home) as usage:
        return to_markdown(report(usage, window))
