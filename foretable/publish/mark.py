"""The one row of `_published`: which build a file holds, and what it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretable.publish.tables import Serving
from ibis_features.reader import PUBLISHED
from udfs.quoting import identifier

if TYPE_CHECKING:
    import duckdb

FORMAT = 1
"""Of the row in `_published` and of which tables there are; a greater one is another release's."""
STORAGE_VERSION = "v1.1.0"
"""Of the file: the oldest DuckDB that reads it."""


def releases(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What writes the file: a file of other releases says nothing about what these would write."""
    from importlib.metadata import version

    row = con.execute("select version()").fetchone()
    assert row is not None
    return {
        "foretable_version": version("foretable"),
        "duckdb_version": row[0],
        "storage_version": STORAGE_VERSION,
        "format": FORMAT,
    }


def mark_of(
    con: duckdb.DuckDBPyConnection, warehouse: Path, personal: str, rows: Mapping[str, int], serving: Sequence[Serving]
) -> dict[str, Any]:
    """The row by column, but for build_id and published_at: all that says what is in the file.

    rows: of each table, by name.
    """
    predictions = [
        {"prediction": one.prediction, "version": one.version, "as_of": one.newest, "row_count": rows[str(one.scores)]}
        for one in serving
    ]
    return {
        "warehouse": warehouse.name,
        "personal": personal,
        "tables": [{"table_name": name, "row_count": count} for name, count in rows.items()],
        "predictions": predictions,
        **releases(con),
    }


def read_mark(con: duckdb.DuckDBPyConnection, database: str) -> dict[str, Any]:
    """The row of an attached file as `mark_of` gives it; columns that its release did not write are not there."""
    cursor = con.execute(f"select * from {identifier(database)}.{PUBLISHED}")
    names = [column[0] for column in cursor.description or []]
    row = cursor.fetchone()
    stored = dict(zip(names, row, strict=True)) if row else {}
    return {name: value for name, value in stored.items() if name not in {"build_id", "published_at"}}


def write_mark(
    con: duckdb.DuckDBPyConnection, database: str, mark: Mapping[str, Any], build_id: str, published_at: datetime
) -> None:
    con.execute(
        f"""
        create table {identifier(database)}.{PUBLISHED} as
        select
            $build_id::varchar as build_id,
            $warehouse::varchar as warehouse,
            $foretable_version::varchar as foretable_version,
            $duckdb_version::varchar as duckdb_version,
            $storage_version::varchar as storage_version,
            $personal::varchar as personal,
            $tables::struct(table_name varchar, row_count bigint)[] as tables,
            $predictions::struct(
                prediction varchar, "version" integer, as_of timestamp, row_count bigint
            )[] as predictions,
            $format::integer as format,
            $published_at::timestamp as published_at
        """,
        {**mark, "build_id": build_id, "published_at": published_at},
    )
