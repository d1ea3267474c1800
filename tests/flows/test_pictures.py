"""Images that steps leave are seen in the report, on disk and in the Prefect UI."""

from __future__ import annotations

import asyncio
import shutil
from uuid import UUID

import pytest
from playwright.async_api import async_playwright
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from tests.conftest import PrefectServer
from tests.flows.conftest import Stage
from tests.flows.test_planning import code, plan

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRAWING = """
import base64
pixel = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
         "awAAAABJRU5ErkJggg==")
open("dot.png", "wb").write(base64.b64decode(pixel))
open("not (an) image.png", "wb").write(b"x")
output = 1
"""


async def result_artifact(flow_run_id: str) -> tuple[str, str]:
    """The id and the Markdown of a run's result."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=of_run)
    (artifact,) = [a for a in found if str(a.key).startswith("result-")]
    return str(artifact.id), str(artifact.data)


async def test_the_report_links_images_and_the_artifact_holds_them(
    stage: Stage, prefect_server: PrefectServer
) -> None:
    _, report = await stage.run(plan(code("draw", DRAWING)))
    saved = (stage.home / "runs" / report.run_key / "report.md").read_text(encoding="utf-8")
    assert "![dot.png](workspace/draw/dot.png)" in saved
    assert "![not" not in saved
    artifact_id, markdown = await result_artifact(report.run_key)
    assert "![dot.png](data:image/png;base64," in markdown
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine to look at it in the UI")
    await sees_image(f"{prefect_server.address.ui_url}/artifacts/artifact/{artifact_id}")


async def sees_image(url: str) -> None:
    """Waits until the page shows an image that was decoded."""
    shown = "[...document.images].some(i => i.src.startsWith('data:') && i.naturalWidth > 0)"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(url)
        async with asyncio.timeout(60):
            await page.wait_for_function(shown, timeout=60_000)
        await browser.close()
