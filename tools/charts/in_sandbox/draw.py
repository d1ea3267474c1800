"""Draws charts into the step's directory. Runs in the sandbox, where nothing can be fetched."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.charts.in_sandbox.image import scaled
from tools.charts.in_sandbox.insights import insights
from tools.charts.in_sandbox.reduce import reduced
from tools.charts.in_sandbox.table import profile, read_table

SCALE = 2
MAX_PREVIEW_BYTES = 300_000
MAX_SPEC_BYTES = 8_000_000
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)
_PAGE = """\
<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<script>{bundle}</script>
</head>
<body>
<div id="chart"></div>
<script>
vegaEmbed("#chart", {spec}, {{renderer: "svg", actions: {{export: true, source: false,
  compiled: false, editor: false}}}}).catch(console.error);
</script>
</body>
</html>
"""


def analyse(argument: dict[str, Any]) -> list[dict[str, Any]]:
    """Per path its table's ``profile``, or an ``error``."""
    found: list[dict[str, Any]] = []
    for path in argument["paths"]:
        try:
            found.append({"profile": profile(read_table(path))})
        except (OSError, ValueError) as error:
            found.append({"error": _reason(error)})
    return found


def draw(argument: dict[str, Any]) -> list[dict[str, Any]]:
    """Per chart a preview, a note and its insights, or an ``error``."""
    drawn: list[dict[str, Any]] = []
    for chart in argument["charts"]:
        try:
            drawn.append(_draw(chart))
        except (OSError, ValueError) as error:
            drawn.append({"error": _reason(error)})
    return drawn


def _reason(error: OSError | ValueError) -> str:
    """Without the frames of the JavaScript engine."""
    text = error.strerror if isinstance(error, OSError) else str(error)
    lines = [line for line in (text or "").splitlines() if not line.startswith("    at ")]
    return " ".join(lines)[:500]


def _draw(chart: dict[str, Any]) -> dict[str, Any]:
    import vl_convert

    spec: dict[str, Any] = chart["spec"]
    note, found = None, list[dict[str, Any]]()
    if chart.get("path"):
        table = read_table(chart["path"])
        spec["data"], note = _data(table, chart["reduction"])
        if note:
            _add_subtitle(spec, note)
        found = insights(table, chart["design"])
    text = json.dumps(spec, ensure_ascii=False, allow_nan=False)
    if len(text.encode()) > MAX_SPEC_BYTES:
        raise ValueError(f"its data exceed {MAX_SPEC_BYTES} bytes; aggregate them first")
    png = vl_convert.vegalite_to_png(spec, scale=SCALE, allowed_base_urls=[])
    files: dict[str, bytes] = {".vl.json": text.encode()} if chart["keep_spec"] else {}
    if chart["output_type"] == "png":
        files[".png"] = png
    else:
        files[".html"] = _page(spec, chart).encode()
    for suffix, content in files.items():
        _write(chart["target"] + suffix, content)
    fontless = bool(_CJK.search(text)) and not _has_cjk_font()
    preview = scaled(png, MAX_PREVIEW_BYTES) if chart["preview"] else {}
    return {"preview": preview, "note": note, "insights": found, "fontless": fontless}


def _data(table: Any, reduction: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    rows, note = reduced(table, reduction)
    if not rows:
        raise ValueError("no row has a value in all of the columns drawn")
    return {"values": rows}, note


def _add_subtitle(spec: dict[str, Any], note: str) -> None:
    title: Any = spec.get("title") or ""
    described: dict[str, Any] = {"text": title} if isinstance(title, str | list) else title
    before: Any = described.get("subtitle") or []
    kept: list[Any] = [before] if isinstance(before, str) else before
    spec["title"] = {**described, "subtitle": [*kept, note]}


def _page(spec: dict[str, Any], chart: dict[str, Any]) -> str:
    """A page of its own: vl-convert's lets ``</script>`` in the data end the script."""
    import html

    inside_script = json.dumps(spec).replace("<", "\\u003c")
    return _PAGE.format(
        language=chart["language"],
        policy=_CONTENT_POLICY,
        title=html.escape(chart["title"]),
        bundle=_bundle(),
        spec=inside_script,
    )


def _bundle() -> str:
    """In a thread: of the main one the bundler asks /proc, which Landlock may have closed."""
    from concurrent.futures import ThreadPoolExecutor

    import vl_convert

    with ThreadPoolExecutor(1) as threads:
        # The stubs ask for a snippet; without one it is everything a page needs.
        bundle: Callable[[], str] = vl_convert.javascript_bundle  # pyright: ignore[reportAssignmentType]
        return threads.submit(bundle).result()


def _has_cjk_font() -> bool:
    """Whether two signs look different: without a font both are the same box, or nothing."""
    import vl_convert

    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24">'
        '<text y="20" font-size="18" font-family="sans-serif">{}</text></svg>'
    )
    return vl_convert.svg_to_png(svg.format("中")) != vl_convert.svg_to_png(svg.format("国"))


def _write(path: str, content: bytes) -> None:
    """Whole or not at all; a link in its place is replaced, not followed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".manus-{target.name}")
    temporary.unlink(missing_ok=True)
    temporary.write_bytes(content)
    os.replace(temporary, target)
