from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from analytics import schema
from analytics.compactor import compact
from analytics.queries import calls_of, totals
from analytics.reader import open_usage
from core.errors import EnvironmentUnusableError
from core.usage import UsageEvent
from tests.analytics.rows import model_call, spool


def columns(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    rows = con.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?", [table]
    ).fetchall()
    return dict(rows)


def alter(home: Path, *statements: str) -> None:
    with duckdb.connect(home / "usage.duckdb") as con:
        for statement in statements:
            con.execute(statement)


def test_the_columns_are_the_fields_of_an_event() -> None:
    with duckdb.connect() as con:
        schema.create_tables(con)
        found = columns(con, "usage_event")
    assert list(found) == list(UsageEvent.model_fields)
    assert found["cost_usd"] == "DECIMAL(38,18)"
    assert found["ts"] == "TIMESTAMP WITH TIME ZONE"


def test_a_column_may_be_null_exactly_when_the_field_may_be_none() -> None:
    with duckdb.connect() as con:
        schema.create_tables(con)
        rows = con.execute(
            "SELECT column_name, is_nullable FROM duckdb_columns() WHERE table_name = 'usage_event'"
        ).fetchall()
    optional = {n for n, f in UsageEvent.model_fields.items() if "None" in str(f.annotation)}
    assert {name for name, nullable in rows if nullable} == optional


def test_every_field_survives_the_way_into_the_database(tmp_path: Path) -> None:
    event = model_call(
        "e1",
        step_id="a",
        attempt=2,
        turn=3,
        call_index=1,
        try_index=1,
        outcome="interrupted",
        error_type="RateLimitedError",
        cost_usd=Decimal("0.000000123456789012"),
        time_to_first_chunk_seconds=0.25,
        cache_hit=True,
        replayed=True,
        tags=("x", "y z", "'"),
        raw_usage={"nested": {"list": [1, None, "\u00e9"]}, "nul": "a\0b"},
    )
    spool(tmp_path, [event])
    with open_usage(tmp_path) as usage:
        live = calls_of(usage, "run-1")
    compact(tmp_path)
    with open_usage(tmp_path) as usage:
        assert calls_of(usage, "run-1") == live == (event,)


def test_a_file_that_lacks_later_columns_gets_them_and_keeps_its_rows(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1", sandbox="bubblewrap")])
    compact(tmp_path)
    alter(
        tmp_path,
        "DROP VIEW usage_fact",
        "ALTER TABLE usage_event DROP COLUMN sandbox",
        "UPDATE schema_version SET version = 0",
    )
    spool(tmp_path, [model_call("e2", sandbox="docker")])
    with open_usage(tmp_path) as usage:
        before = {e.event_id: e.sandbox for e in calls_of(usage, "run-1")}
    assert before == {"e1": None, "e2": "docker"}
    compact(tmp_path)
    with duckdb.connect(tmp_path / "usage.duckdb", read_only=True) as con:
        rows = con.execute("SELECT event_id, sandbox FROM usage_fact ORDER BY 1").fetchall()
        assert schema.read_version(con) == schema.SCHEMA_VERSION
    assert rows == [("e1", None), ("e2", "docker")]


def test_an_old_file_is_migrated_even_without_new_rows(tmp_path: Path) -> None:
    compact(tmp_path)
    alter(tmp_path, "UPDATE schema_version SET version = 0")
    assert compact(tmp_path).published
    assert not compact(tmp_path).published


def test_a_file_of_a_later_version_is_neither_read_nor_written(tmp_path: Path) -> None:
    spool(tmp_path, [model_call("e1")])
    compact(tmp_path)
    alter(tmp_path, f"UPDATE schema_version SET version = {schema.SCHEMA_VERSION + 1}")
    content = (tmp_path / "usage.duckdb").read_bytes()
    spool(tmp_path, [model_call("e2")])
    with pytest.raises(EnvironmentUnusableError, match="newer program"):
        compact(tmp_path)
    with pytest.raises(EnvironmentUnusableError, match="schema version 2"), open_usage(tmp_path):
        pass
    assert (tmp_path / "usage.duckdb").read_bytes() == content


def test_the_published_views_agree_with_our_queries(tmp_path: Path) -> None:
    spool(
        tmp_path,
        [
            model_call("e1", cost_usd=Decimal("0.5"), input_tokens=10),
            model_call("e2", cost_usd=Decimal("0.25"), input_tokens=10, cache_hit=True),
            model_call("e3", input_tokens=10),
        ],
    )
    compact(tmp_path)
    with duckdb.connect(tmp_path / "usage.duckdb", read_only=True) as con:
        query = "SELECT model_calls, input_tokens, cost_usd, saved_usd, unpriced_calls "
        (row,) = con.execute(query + "FROM daily_spend").fetchall()
        assert con.execute("SELECT * FROM tool_outcome").fetchall() == []
    with open_usage(tmp_path) as usage:
        spend = totals(usage)
    ours = (spend.model_calls, spend.input_tokens, spend.cost_usd, spend.saved_usd)
    assert row == (*ours, spend.unpriced_calls) == (3, 20, Decimal("0.5"), Decimal("0.25"), 1)


def test_a_path_with_a_quote_is_a_path(tmp_path: Path) -> None:
    home = tmp_path / "o'brien; --"
    spool(home, [model_call("e1")])
    compact(home)
    with open_usage(home) as usage:
        assert totals(usage).model_calls == 1
