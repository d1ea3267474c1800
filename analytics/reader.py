"""What is known of usage right now: the published snapshot and what the spool adds to it.

Readers never open a file that anybody writes to with DuckDB. They attach the published snapshot
read-only, and take the rows of segments that its ledger lacks, sealed or still growing.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from analytics import schema
from analytics.compactor import Places
from analytics.segments import segments

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Usage:
    """A view of all usage as of its opening. Not for use by several threads at once.

    ``bad_lines`` counts the lines of the spool that are not rows. The unfinished last line of a
    segment still being written is one of them.
    """

    connection: duckdb.DuckDBPyConnection
    bad_lines: int

    def rows(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Runs a query over the view ``usage_fact`` (see ``views.sql``)."""
        return self.connection.execute(query, parameters).fetchall()


@contextmanager
def open_usage(home: Path) -> Generator[Usage]:
    """Opens usage under ``home`` for reading; empty where nothing has run yet.

    Raises:
        EnvironmentUnusableError: ``usage.duckdb`` was written by a later version.
        CorruptRecordError: ``usage.duckdb`` is damaged; a query may be what finds it out.
    """
    places = Places(home)
    with (
        schema.reporting_damage(places.published),
        TemporaryDirectory(prefix="manus-usage-") as spill,
        schema.connect(Path(spill)) as con,
    ):
        con.execute("CREATE SCHEMA published; CREATE SCHEMA spooled")
        _attach_published(con, places)
        bad_lines = _load_spooled(con, places)
        con.execute("CREATE VIEW usage_event AS " + _BOTH)
        schema.create_views(con)
        yield Usage(con, bad_lines)


_BOTH = """
    SELECT * FROM published.usage_event
    WHERE event_id NOT IN (SELECT event_id FROM spooled.usage_event)
    UNION ALL BY NAME SELECT * FROM spooled.usage_event
"""


def _attach_published(con: duckdb.DuckDBPyConnection, places: Places) -> None:
    """Makes ``published.usage_event`` and ``published.ingest_segment``, empty without a file."""
    con.execute("USE memory.published")
    if not places.published.exists():
        schema.create_tables(con)
    else:
        schema.attach(con, places.published, "READ_ONLY")
        schema.check_version(con)
        con.execute("USE memory.published")
        for table in ("usage_event", "ingest_segment"):
            con.execute(f"CREATE VIEW {table} AS SELECT * FROM usage.{table}")
    con.execute("USE memory.main")


def _load_spooled(con: duckdb.DuckDBPyConnection, places: Places) -> int:
    """Fills ``spooled.usage_event`` with rows that the snapshot lacks; returns the bad lines."""
    con.execute("USE memory.spooled")
    schema.create_tables(con)
    con.execute("CREATE TEMP TABLE batch AS FROM usage_event LIMIT 0")
    query = "SELECT segment_id FROM memory.published.ingest_segment"
    ingested = {row[0] for row in con.execute(query).fetchall()}
    bad_lines = 0
    for segment in segments(places.spool):
        if segment.segment_id not in ingested:
            _, bad = schema.append(con, "batch", segment.lines())
            bad_lines += len(bad)
    new = schema.select_new("batch", "memory.published.usage_event")
    con.execute(f"INSERT INTO usage_event BY NAME {new}")
    con.execute("USE memory.main")
    return bad_lines
