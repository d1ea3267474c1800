"""The shape of ``usage.duckdb``: opening, creating, migrating, and putting rows in."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics.segments import BadLine, SegmentRow
from core.errors import CorruptRecordError, EnvironmentUnusableError
from core.usage import UsageEvent

if TYPE_CHECKING:
    import duckdb

SCHEMA_VERSION = 1
COLUMNS = tuple(UsageEvent.model_fields)


def connect(spill: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory session that never downloads an extension, in UTC.

    ``spill`` is where a query larger than memory puts its temporary files.
    """
    import duckdb

    con = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": str(spill),
        }
    )
    con.execute("SET TimeZone = 'UTC'")
    return con


@contextmanager
def reporting_damage(path: Path) -> Generator[None]:
    """Maps what DuckDB says of an unreadable file to ``CorruptRecordError``.

    DuckDB has no one type for damage, so everything is mapped but errors in our own SQL.
    """
    import duckdb

    try:
        yield
    except duckdb.ProgrammingError:
        raise
    except duckdb.Error as error:
        reason = "damaged, or open for writing in another program"
        raise CorruptRecordError(f"{path} cannot be read ({reason}): {error}") from error


def attach(con: duckdb.DuckDBPyConnection, path: Path, options: str) -> None:
    """Attaches a database file as ``usage`` and makes it the current one.

    Raises:
        CorruptRecordError: the file is damaged, or another program has it open for writing.
    """
    # ATTACH takes no parameters, so the path is an SQL literal.
    literal = str(path).replace("'", "''")
    with reporting_damage(path):
        con.execute(f"ATTACH '{literal}' AS usage ({options})")
    con.execute("USE usage")


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Creates the tables that are missing in the current database and schema. Idempotent."""
    con.execute(_sql("schema.sql"))


def create_views(con: duckdb.DuckDBPyConnection) -> None:
    """Creates or replaces the views over ``usage_event`` in the current database and schema."""
    con.execute(_sql("views.sql"))


def migrate(con: duckdb.DuckDBPyConnection) -> None:
    """Brings the current database up to ``SCHEMA_VERSION``: tables, later columns, views.

    Raises:
        EnvironmentUnusableError: the file is of a later version than this program.
    """
    create_tables(con)
    check_version(con)
    for statement in missing_columns(con):
        con.execute(statement)
    create_views(con)
    con.execute("DELETE FROM schema_version")
    con.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])


def read_version(con: duckdb.DuckDBPyConnection) -> int:
    """The schema version of the current database, 0 before the first migration."""
    row = con.execute("SELECT max(version) FROM schema_version").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def check_version(con: duckdb.DuckDBPyConnection) -> None:
    """Raises EnvironmentUnusableError where the current database is of a later version."""
    found = read_version(con)
    if found > SCHEMA_VERSION:
        raise EnvironmentUnusableError(
            f"usage.duckdb has schema version {found}, this program knows {SCHEMA_VERSION}: "
            "use the newer program"
        )


def missing_columns(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The statements that add what ``schema.sql`` declares and an older file lacks."""
    import duckdb

    with duckdb.connect() as declared:
        create_tables(declared)
        wanted = declared.execute(_COLUMNS_QUERY).fetchall()
    present = {(table, column) for table, column, _, _ in con.execute(_COLUMNS_QUERY).fetchall()}
    return [
        f'ALTER TABLE {table} ADD COLUMN "{column}" {kind} DEFAULT {default or "NULL"}'
        for table, column, kind, default in wanted
        if (table, column) not in present
    ]


_COLUMNS_QUERY = """
    SELECT table_name, column_name, data_type, column_default FROM duckdb_columns()
    WHERE database_name = current_database() AND schema_name = current_schema() AND NOT internal
      AND table_name IN ('usage_event', 'ingest_segment', 'schema_version')
    ORDER BY table_name, column_index
"""


def append(
    con: duckdb.DuckDBPyConnection, table: str, lines: Iterable[SegmentRow | BadLine]
) -> tuple[int, list[BadLine]]:
    """Appends the rows to ``table``; returns how many, and the lines that could not be stored."""
    import duckdb

    count = 0
    bad: list[BadLine] = []
    with con.appender(table, columns=list(COLUMNS)) as appender:
        for line in lines:
            if isinstance(line, BadLine):
                bad.append(line)
                continue
            try:
                appender.append_row(*_values(line.event))
                count += 1
            except (duckdb.DataError, duckdb.InvalidInputException) as error:
                # Valid for the model, not for the table: a count beyond 64 bits, say.
                bad.append(BadLine(line.number, line.content, str(error).splitlines()[0]))
    return count, bad


def _values(event: UsageEvent) -> list[Any]:
    values = {name: getattr(event, name) for name in COLUMNS}
    values["tags"] = list(event.tags)
    values["raw_usage"] = json.dumps(event.raw_usage)
    return list(values.values())


def select_new(batch: str, existing: str) -> str:
    """SQL for the rows of ``batch`` that ``existing`` lacks, one per ``event_id``.

    Of an original and its replays the original is taken, also over a replay already stored.
    """
    return f"""
        SELECT * FROM {batch} b
        WHERE NOT EXISTS (
            SELECT 1 FROM {existing} e WHERE e.event_id = b.event_id AND e.replayed <= b.replayed
        )
        QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY replayed, ts) = 1
    """


def _sql(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
