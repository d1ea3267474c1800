"""The shipped plan on two tables: every number of the report is recomputed."""

from __future__ import annotations

import csv
import random
import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.result import RunReport
from core.run import RunOptions
from core.settings import PROJECT_ROOT
from flows.planning import plan_and_run

PLAN = PROJECT_ROOT / "examples/plans/csv_report.yaml"
SALES = PROJECT_ROOT / "examples/data/sales.csv"


@dataclass(frozen=True)
class Columns:
    value: str
    group: str
    date: str | None


def percentile(values: list[float], share: float) -> float:
    """Linear between the closest ranks."""
    at = share * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def money(value: float) -> str:
    return f"{value:,.2f}"


def expected_rows(path: Path, columns: Columns) -> set[str]:
    """The lines of the report's tables, computed with the standard library alone."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = sorted(float(r[columns.value]) for r in rows if r[columns.value])
    q1, q3 = percentile(values, 0.25), percentile(values, 0.75)
    reach = 1.5 * (q3 - q1)
    v = columns.value
    lines = {
        f"| rows | {len(rows)} |",
        f"| columns | {len(rows[0])} |",
        f"| duplicate rows | {len(rows) - len({tuple(r.items()) for r in rows})} |",
        f"| sum of {v} | {money(sum(values))} |",
        f"| mean of {v} | {money(statistics.fmean(values))} |",
        f"| median of {v} | {money(statistics.median(values))} |",
        f"| smallest of {v} | {money(values[0])} |",
        f"| largest of {v} | {money(values[-1])} |",
        f"| 10th percentile of {v} | {money(percentile(values, 0.1))} |",
        f"| 90th percentile of {v} | {money(percentile(values, 0.9))} |",
        "| outliers (1.5 interquartile ranges) | "
        f"{sum(not q1 - reach <= x <= q3 + reach for x in values)} |",
    }
    for name in rows[0]:
        if missing := sum(not r[name] for r in rows):
            lines.add(f"| missing in {name} | {missing} |")
    return lines | group_rows(rows, columns, sum(values)) | month_rows(rows, columns)


def group_rows(rows: list[dict[str, str]], columns: Columns, total: float) -> set[str]:
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row[columns.value]:
            groups[row[columns.group] or "(none)"].append(float(row[columns.value]))
    return {
        f"| {name} | {len(group)} | {money(sum(group))} | {money(statistics.fmean(group))} "
        f"| {sum(group) / total * 100:.1f} % |"
        for name, group in groups.items()
    }


def month_rows(rows: list[dict[str, str]], columns: Columns) -> set[str]:
    months: defaultdict[str, float] = defaultdict(float)
    for row in rows if columns.date else []:
        months[row[columns.date or ""][:7]] += float(row[columns.value] or 0)
    return {f"| {month} | {money(value)} |" for month, value in months.items()}


def check_report(text: str, expected: set[str]) -> None:
    """All data lines are the expected ones, and no number stands anywhere else."""
    tables = {
        line
        for line in text.splitlines()
        if line.startswith("|") and re.search(r"\d", line) and "---" not in line
    }
    assert tables == expected
    known = set(re.findall(r"\d[\d,.]*\d|\d", " ".join(expected)))
    known |= {n.replace(",", "") for n in known} | {k for n in known for k in n.split("-")}
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    for number in re.findall(r"\d[\d,.]*\d|\d", prose):
        assert number in known, f"{number} is in the report and was not computed"


async def run(table: Path) -> RunReport:
    done = await plan_and_run(plan=PLAN, options=RunOptions(inputs=(str(table),)))
    assert isinstance(done, RunReport)
    return done


def report_of(done: RunReport) -> str:
    return (Path(done.directory) / "workspace/report/report.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("flow_home")
async def test_every_number_of_the_sample_report_is_right() -> None:
    done = await run(SALES)
    assert done.status == "completed"
    assert len(done.steps) >= 6
    columns = Columns("revenue", "region", "date")
    check_report(report_of(done), expected_rows(SALES, columns))
    chart = Path(done.directory) / "workspace/report/chart.png"
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert done.spend.model_calls == 1


@pytest.mark.usefixtures("flow_home")
async def test_another_table_works_as_well(tmp_path: Path) -> None:
    chance = random.Random(3)
    path = tmp_path / "energy.csv"
    lines = ["meter_id,building,kwh"]
    for number in range(60):
        kwh = f"{chance.lognormvariate(3, 1):.2f}" if number % 17 else ""
        lines.append(f"{number % 7},{chance.choice(['hall', 'lab', 'office'])},{kwh}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = await run(path)
    check_report(report_of(done), expected_rows(path, Columns("kwh", "building", None)))
