"""What is shown of a finished run in the Prefect UI: its result, usage and files as artifacts."""

from __future__ import annotations

import base64
import re

from httpx import HTTPError
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.logging import get_run_logger

from core.errors import ToolFailedError
from core.result import RunReport, StepReport
from tasks.report import IMAGE_TYPES
from tasks.run import Run
from tools.step_files import read_bytes
from tools.workspace import StepDirectory

MAX_IMAGE_BYTES = 400_000
MAX_IMAGES_BYTES = 2_000_000
"""Of one artifact, which the server keeps in its database and the UI loads whole."""

_IMAGE = re.compile(r"!\[([^\]]*)\]\(workspace/([^/()]+)/([^()]+)\)")


async def publish_report(run: Run, report: RunReport, markdown: str) -> None:
    """Shows a finished run in the UI. What cannot be shown is on disk all the same."""
    try:
        await _create_artifacts(run, report, markdown)
    except HTTPError as error:
        get_run_logger().warning("the report could not be published: %s", error)


async def _create_artifacts(run: Run, report: RunReport, markdown: str) -> None:
    """The result, the usage and the files as artifacts of the flow run."""
    short = run.key[:8]
    await acreate_markdown_artifact(
        _with_images(run, markdown),
        key=f"result-{short}",
        description=f"{report.status}: {report.headline}",
    )
    await acreate_table_artifact(
        [_usage_row(s) for s in report.steps],
        key=f"usage-{short}",
        description=f"{report.spend.model_calls} model calls, {_cost(report)}",
    )
    files = [
        {"step": s.step_id, "file": f.path, "bytes": f.size_bytes, "sha256": f.sha256}
        for s in report.steps
        if s.result
        for f in s.result.files
    ]
    if files:
        await acreate_table_artifact(
            files, key=f"files-{short}", description=f"{len(files)} files under {report.directory}"
        )


def _usage_row(step: StepReport) -> dict[str, str | int | float]:
    spend = step.result.spend if step.result else None
    return {
        "step": step.step_id,
        "status": step.status.value,
        "turns": step.result.turns if step.result else 0,
        "model calls": spend.model_calls if spend else 0,
        "tool calls": spend.tool_calls if spend else 0,
        "tokens in": spend.usage.input_tokens if spend else 0,
        "tokens out": spend.usage.output_tokens if spend else 0,
        "cost USD": f"{spend.cost_usd:.6f}" if spend else "",
        "seconds": round(step.duration_seconds, 2),
    }


def _cost(report: RunReport) -> str:
    known = f"{report.spend.cost_usd:.4f} USD"
    unpriced = report.spend.unpriced_calls
    return f"{known} and {unpriced} calls of unknown price" if unpriced else known


def _with_images(run: Run, markdown: str) -> str:
    """The images that the report links, by value: the UI has no access to the run's files."""
    left = MAX_IMAGES_BYTES

    def by_value(link: re.Match[str]) -> str:
        nonlocal left
        title, step_id, path = link.groups()
        try:
            content = read_bytes(
                StepDirectory(step_id, run.workspace.root, ()), path, MAX_IMAGE_BYTES
            )
        except ToolFailedError as error:
            return f"({title}: {error})"
        if len(content) > left:
            return f"({title}: left out, as there are many images)"
        left -= len(content)
        kind = IMAGE_TYPES[path.rpartition(".")[2].lower()]
        return f"![{title}](data:{kind};base64,{base64.b64encode(content).decode()})"

    return _IMAGE.sub(by_value, markdown)
