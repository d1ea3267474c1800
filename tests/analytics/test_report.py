from __future__ import annotations

from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

from analytics.figures import Dimension
from analytics.frames import to_frame
from analytics.page import usage_page
from analytics.queries import calls_of, latency_by, spend_by
from analytics.reader import open_usage
from analytics.report import report, spend_table, to_markdown, totals_table
from tests.analytics.rows import NOON, model_call, seconds_after_noon, spool, tool_run

ROWS = (
    model_call("e1", cost_usd=Decimal("1234.5"), input_tokens=1500, duration_seconds=2.5),
    model_call("e2", ts=seconds_after_noon(3 * 86_400), cost_usd=Decimal("0.00001")),
    model_call("e3", deployment="local:x", request_model="un|known", provider_name="local"),
    model_call("e4", outcome="error", error_type="OverloadedError"),
    tool_run("e5", duration_seconds=0.5),
)


def test_a_report_has_every_table_that_has_rows(tmp_path: Path) -> None:
    spool(tmp_path, ROWS)
    with open_usage(tmp_path) as usage:
        titles = [table.title for table in report(usage)]
    assert titles == [
        "Totals",
        "By day",
        "By provider and model",
        "Latency of answered calls",
        "Errors and failovers",
        "Tools",
    ]


def test_a_report_on_nothing_says_so_with_zeros(tmp_path: Path) -> None:
    with open_usage(tmp_path) as usage:
        (only,) = report(usage)
    assert only.title == "Totals"
    assert only.rows[0][0] == 0


def test_cells_are_written_with_their_units(tmp_path: Path) -> None:
    spool(tmp_path, ROWS)
    with open_usage(tmp_path) as usage:
        totals, days, models, latency, reliability, tools = report(usage)
    texts = dict(zip(totals.headers, totals.text_rows[0], strict=True))
    assert texts["Input tokens"] == "1,500"
    assert texts["Cost"] == "$1,234.5000"
    assert [row[days.headers.index("Cost")] for row in days.text_rows][1] == "<$0.0001"
    assert models.text_rows[0][:2] == ("openai", "small")
    assert latency.text_rows[0][3] == "1.25 s"
    assert reliability.text_rows[0][-2:] == ("33.3%", "0.0%")
    assert tools.text_rows[0] == ("bash", "1", "1", "0", "0", "100.0%", "0.50 s", "0.50 s")


def test_an_unknown_cost_is_not_shown_as_nothing(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1"), model_call("e2")])
    with open_usage(tmp_path) as usage:
        table = totals_table(usage)
    texts = dict(zip(table.headers, table.text_rows[0], strict=True))
    assert (texts["Cost"], texts["Unpriced"]) == ("-", "2")
    assert "2 calls have no known price" in table.note


def test_tool_runs_do_not_make_a_nameless_row_among_the_models(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1"), tool_run("e2")])
    with open_usage(tmp_path) as usage:
        table = spend_table(usage, "By model", (Dimension.MODEL,))
    assert [row[0] for row in table.rows] == ["small"]


def test_markdown_keeps_a_table_whole_whatever_names_say(tmp_path: Path) -> None:
    hostile = "a|b\n<script>alert(1)</script> [x](http://evil)"
    spool(tmp_path, [model_call("e1", request_model=hostile)])
    with open_usage(tmp_path) as usage:
        text = to_markdown(report(usage))
    line = next(line for line in text.splitlines() if "script" in line)
    assert line.replace("\\|", "").count("|") == 12
    assert "<script>" not in text
    assert "\\[x\\](http" in text
    assert "### Totals" in text


class Page(HTMLParser):
    """What a browser would see: the tags, what they refer to, and the cells' text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for name, v in attrs if name in ("src", "href", "data")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_loads_nothing_and_shows_text_as_text(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    spool(tmp_path, [*ROWS, model_call("e9", request_model=hostile)])
    with open_usage(tmp_path) as usage:
        text = usage_page(usage, made_at=NOON)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert page.references == []
    assert "url(" not in text
    assert hostile in page.texts
    assert "$1,234.5000" in page.texts


def test_the_chart_has_one_bar_per_day_and_a_gap_for_missing_days(tmp_path: Path) -> None:
    spool(tmp_path, ROWS)
    with open_usage(tmp_path) as usage:
        text = usage_page(usage, made_at=NOON)
    page = Page(text)
    assert page.tags.count("rect") == 2
    assert "2026-03-14: 1,234.5" in page.texts
    assert "2026-03-17: 1e-05" in page.texts
    assert 'x="697.5"' in text  # the fourth of four slots, 900 wide together


def test_the_page_of_an_empty_home_says_so(tmp_path: Path) -> None:
    with open_usage(tmp_path) as usage:
        page = Page(usage_page(usage, made_at=NOON))
    assert "Nothing has been used yet." in page.texts


def test_figures_become_frames_with_plain_columns(tmp_path: Path) -> None:
    spool(tmp_path, ROWS)
    with open_usage(tmp_path) as usage:
        spend = to_frame(spend_by(usage, [Dimension.PROVIDER]))
        latency = to_frame(latency_by(usage, [Dimension.PROVIDER]))
        calls = to_frame(calls_of(usage, "run-1"))
    assert list(spend["provider"].dropna()) == ["openai", "local"]
    assert spend["cost_usd"].iloc[0] == 1234.50001
    assert {"provider", "calls", "duration_p50", "first_token_p95"} <= set(latency.columns)
    assert list(calls["event_id"]) == ["e1", "e3", "e4", "e5", "e2"]
    assert to_frame([]).empty
