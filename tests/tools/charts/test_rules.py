"""Tables as they are read, the charts rules choose for them, and the insights computed."""

import math
from pathlib import Path
from typing import Any

import pytest

from core.errors import ToolFailedError
from tools.charts.choose import AVERAGED, choose
from tools.charts.in_sandbox.insights import insights
from tools.charts.in_sandbox.reduce import reduced
from tools.charts.in_sandbox.table import Table, profile, read_table
from tools.charts.model import ChartDesign, TableProfile
from tools.charts.spec_check import check_spec

SALES = "month,region,amount,price\n" + "".join(
    f"2024-{month:02},{region},{100 * month + extra},{2 + extra / 10}\n"
    for month in range(1, 13)
    for extra, region in enumerate(("North", "South"))
)


def table_of(tmp_path: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Table:
    file = tmp_path / name
    file.write_bytes(text.encode(encoding))
    return read_table(str(file))


def design_of(table: Table, title: str) -> ChartDesign:
    design = choose(TableProfile.model_validate(profile(table)), title)
    rows, _ = reduced(table, design.reduction)
    check_spec({**design.spec, "data": {"values": rows}}, list(rows[0]))
    return design


def mark_of(design: ChartDesign) -> str:
    return design.spec["mark"]["type"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "-3e2"], "quantitative"),
        (["$1,200", "€5", "7%"], "quantitative"),
        (["2024-01-31", "2024-02-01", ""], "temporal"),
        (["31/01/2024", "01/02/2024", "02/02/2024"], "temporal"),
        (["2024 Q1", "2024 Q2", "2024 Q3"], "temporal"),
        (["Jan 2024", "Feb 2024", "Mar 2024"], "temporal"),
        (["2024年1月", "2024年2月", "2024年3月"], "temporal"),
        (["a", "b", "1"], "nominal"),
        (["1-2", "3-4", "5-6"], "nominal"),
    ],
)
def test_a_column_is_recognised(tmp_path: Path, values: list[str], kind: str) -> None:
    rows = "".join(f'"{value}",x\n' for value in values)
    assert table_of(tmp_path, f"c,other\n{rows}").columns[0].kind == kind


def test_years_and_identifiers_are_no_quantities(tmp_path: Path) -> None:
    table = table_of(tmp_path, "year,user_id,n\n2020,7,1\n2021,8,2\n")
    assert [column.kind for column in table.columns] == ["year", "identifier", "quantitative"]


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        ("a;b\n1,5;x\n2;y\n", "t.csv", "utf-8"),
        ("a\tb\n1\tx\n2\ty\n", "t.tsv", "utf-8-sig"),
        ('[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]', "t.json", "utf-8"),
        ('{"data": [{"a": 1, "b": "é"}]}', "t.json", "latin-1"),
    ],
)
def test_tables_of_many_spellings_are_read(
    tmp_path: Path, text: str, name: str, encoding: str
) -> None:
    table = table_of(tmp_path, text, name, encoding)
    assert [column.title for column in table.columns] == ["a", "b"]


def test_names_that_a_specification_would_misread_are_replaced(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a.b,x,x\n1,2,3\n")
    assert [column.field for column in table.columns] == ["column_1", "x", "column_3"]
    assert [column.title for column in table.columns] == ["a.b", "x", "x"]


@pytest.mark.parametrize(
    ("text", "title", "mark"),
    [
        (SALES, "Amount over time", "line"),
        (SALES, "Amount by region", "bar"),
        (SALES, "Share of amount by region", "arc"),
        (SALES, "Price versus amount", "point"),
        ("a,b\n1,2\n2,3\n5,4\n", "Two measures", "point"),
        ("a\n1\n2\n9\n", "One measure", "bar"),
        ("a,b\nx,p\ny,q\nx,q\n", "Two categories", "rect"),
        ("a\nx\ny\nx\n", "One category", "bar"),
        ("year,n\n2020,1\n2021,2\n", "By year", "line"),
    ],
)
def test_the_chart_fits_columns_and_title(tmp_path: Path, text: str, title: str, mark: str) -> None:
    assert mark_of(design_of(table_of(tmp_path, text), title)) == mark


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError, match=r"user_id \(identifier\)"):
        design_of(table_of(tmp_path, "user_id\n1\n2\n"), "x")


def test_sums_are_of_all_rows_and_prices_are_averaged(tmp_path: Path) -> None:
    table = table_of(tmp_path, SALES)
    rows, _ = reduced(table, design_of(table, "Amount by region").reduction)
    assert {row["region"]: row["amount"] for row in rows} == {"North": 7800, "South": 7812}
    rows, _ = reduced(table, design_of(table, "Price by region").reduction)
    assert {row["region"]: round(row["price"], 9) for row in rows} == {"North": 2, "South": 2.1}


def test_many_categories_become_twenty_and_the_rest_keeps_the_total(tmp_path: Path) -> None:
    text = "city,n\n" + "".join(f"city {i},{i}\n" for i in range(1, 101))
    table = table_of(tmp_path, text)
    rows, note = reduced(table, design_of(table, "Cities").reduction)
    assert len(rows) == 21
    assert math.fsum(row["n"] for row in rows) == 5050
    assert note == "the 20 largest of 100; the rest is 'Other'"


def test_months_by_name_keep_their_own_order(tmp_path: Path) -> None:
    table = table_of(tmp_path, "month,n\nMar,1\nJan,2\nFeb,9\n")
    encoding = design_of(table, "x").spec["encoding"]
    assert encoding["x"]["sort"] == ["Jan", "Feb", "Mar"]


def test_years_of_days_are_drawn_by_month(tmp_path: Path) -> None:
    text = "day,n\n" + "".join(
        f"{year}-{month:02}-{day:02},1\n"
        for year in (2022, 2023, 2024)
        for month in range(1, 13)
        for day in range(1, 29)
    )
    table = table_of(tmp_path, text)
    rows, _ = reduced(table, design_of(table, "x").reduction)
    assert len(rows) == 36
    assert rows[0] == {"day": "2022-01-01T00:00:00", "n": 28}


def found(table: Table, kind: str) -> list[dict[str, Any]]:
    every = insights(table, {"measure": None, "averaged": AVERAGED.pattern})
    assert [one["id"] for one in every] == list(range(1, len(every) + 1))
    return [one for one in every if one["type"] == kind]


def test_insights_are_what_the_table_says(tmp_path: Path) -> None:
    table = table_of(tmp_path, SALES)
    trend = found(table, "trend")[0]["figures"]
    assert trend["first"] == ("2024-01", 201)
    assert trend["last"] == ("2024-12", 2401)
    assert trend["slope"] == pytest.approx(200)
    assert trend["r_squared"] == pytest.approx(1)
    share = found(table, "share")[0]["figures"]
    assert share["top"] == ("South", pytest.approx(7812 / 15612))
    highest = found(table, "extremes")[0]["figures"]["highest"]
    assert highest == ("2024-12", 2401)


def test_outliers_correlations_and_gaps_are_found(tmp_path: Path) -> None:
    rows = [(i, 2 * i + 1) for i in range(20)] + [(20, 1000)]
    text = "x,y,z\n" + "".join(f"{x},{y},{'' if x % 5 else 1}\n" for x, y in rows)
    table = table_of(tmp_path, text)
    outliers = next(o for o in found(table, "outliers") if o["measure"] == "y")
    assert outliers["figures"]["farthest"] == [1000]
    table = table_of(tmp_path, "x,y\n" + "".join(f"{x},{-x * 3}\n" for x in range(9)))
    assert found(table, "correlation")[0]["figures"]["r"] == pytest.approx(-1)
    gaps = found(table_of(tmp_path, text), "missing")[0]["figures"]
    assert gaps == {"count": 16, "of": 21}


def test_noise_has_no_correlation(tmp_path: Path) -> None:
    text = "x,y\n" + "".join(f"{x},{(x * 7919) % 101}\n" for x in range(101))
    assert found(table_of(tmp_path, text), "correlation") == []
