"""The JSON list between preparing data and drawing them, and the names charts are given."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from core.base import JsonObject
from core.errors import ToolFailedError
from core.settings import first_problem
from tools import step_files
from tools.charts.model import ChartItem, InsightItem
from tools.workspace import StepDirectory

FOLDER = "visualization"
MAX_CHARTS = 20
MAX_JSON_BYTES = 1_000_000
MAX_TABLE_BYTES = 50_000_000
_TABLES = (".csv", ".tsv", ".txt", ".json")
_Item = TypeVar("_Item", bound=ChartItem | InsightItem)


def read_items(directory: StepDirectory, path: str, kind: type[_Item]) -> list[_Item]:
    """The entries of a prepared JSON file; what they name exists.

    Raises:
        ToolFailedError: says what is wrong where.
    """
    content = step_files.read_bytes(directory, path, MAX_JSON_BYTES)
    try:
        values = TypeAdapter(list[JsonObject]).validate_json(content)
        items = [kind.model_validate(value) for value in values]
    except ValidationError as error:
        raise ToolFailedError(f"{path}: {first_problem(error)}") from error
    if not 1 <= len(items) <= MAX_CHARTS:
        raise ToolFailedError(f"{path}: must list 1 to {MAX_CHARTS} charts")
    for item in items:
        if isinstance(item, ChartItem):
            table_path(directory, item.csv_file_path)
        else:
            stem_of(directory, item.chart_path)
    return items


def table_path(directory: StepDirectory, path: str) -> str:
    """A table's path as every sandbox knows it, relative to the working directory.

    Raises:
        ToolFailedError: no such file, outside, or no kind of table that is read.
    """
    place = directory.locate(path)
    size = step_files.size_of(directory, path)
    if not place.relative.lower().endswith(_TABLES):
        raise ToolFailedError(f"{path}: not one of {', '.join(_TABLES)}")
    if size > MAX_TABLE_BYTES:
        raise ToolFailedError(f"{path}: more than {MAX_TABLE_BYTES} bytes; aggregate it first")
    return place.relative if place.writable else f"../{place.name}/{place.relative}"


def stem_of(directory: StepDirectory, chart_path: str) -> str:
    """Where the files beside a chart begin.

    Raises:
        ToolFailedError: no chart made here before.
    """
    place = directory.locate(chart_path)
    stem = re.sub(r"\.(png|html|vl\.json|md)$", "", place.relative)
    if not place.writable or step_files.kind_of(directory, f"{stem}.vl.json") != "file":
        raise ToolFailedError(f"{chart_path}: no chart that data_visualization made in this step")
    return stem


def targets(titles: list[str]) -> list[str]:
    """A file name per chart, without its ending: the title, made safe, and unlike the others."""
    names: list[str] = []
    for title in titles:
        name = re.sub(r"\W+", "_", title).strip("_")[:60] or "chart"
        same = sum(re.sub(r"-\d+$", "", other) == name for other in names)
        names.append(f"{name}-{same + 1}" if same else name)
    return [f"{FOLDER}/{name}" for name in names]
