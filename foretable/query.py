"""Ask a warehouse, and hand the rows out as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

BATCH_ROWS = 10_000


@contextmanager
def open_reader(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection, shut against all else where the file is a published one; raises NotFoundError where
    there is none.
    """
    from ibis_features import reader
    from ibis_features.errors import NotFoundError

    if not warehouse.is_file():
        raise NotFoundError(f"no warehouse at {warehouse}; build one with `foretable build` or `foretable demo`")
    con = reader.open_reader(warehouse)
    if reader.is_published(con):
        con.close()
        con = reader.open_shut(warehouse)
    try:
        yield con
    finally:
        con.close()


def run_query(con: duckdb.DuckDBPyConnection, sql: str, limit: int | None) -> duckdb.DuckDBPyConnection:
    """Run one or more statements; the last one's rows are what can be fetched.

    Raises ValueError where there is none, and on a published file where one is no SELECT.
    """
    import duckdb

    from ibis_features.reader import is_published

    statements = con.extract_statements(sql)
    if not statements:
        raise ValueError("there is no SQL to run; write a select")
    questions = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    others = [statement.type.name for statement in statements if statement.type not in questions]
    if others and is_published(con):
        raise ValueError(f"{others[0]} is refused on a published file, which is for reading alone; write a select")
    for statement in statements[:-1]:
        con.execute(statement)
    last = statements[-1]
    if limit is not None and last.type == duckdb.StatementType.SELECT:
        return con.execute(f"select * from (\n{_without_end(last.query)}\n) as rows_asked_for limit {limit:d}")
    return con.execute(last)


def _without_end(sql: str) -> str:
    """The statement up to its semicolon, which a comment may follow."""
    import duckdb

    text = sql.encode()
    tokens = duckdb.tokenize(sql)  # places are in bytes; comments are no tokens
    while tokens and text[tokens[-1][0] :].startswith(b";"):
        text = text[: tokens.pop()[0]]
    return text.decode()


def write_csv(cursor: duckdb.DuckDBPyConnection, out: IO[str]) -> None:
    """Rows as CSV with a header; lists and structs as JSON."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_names(cursor))
    while rows := cursor.fetchmany(BATCH_ROWS):
        writer.writerows([_csv_value(value) for value in row] for row in rows)


def write_json(cursor: duckdb.DuckDBPyConnection, out: IO[str]) -> None:
    """Rows as one JSON list of objects."""
    names = _names(cursor)
    out.write("[")
    separator = "\n"
    while rows := cursor.fetchmany(BATCH_ROWS):
        for row in rows:
            record = {name: json_value(value) for name, value in zip(names, row, strict=True)}
            out.write(separator + "  " + json.dumps(record, ensure_ascii=False))
            separator = ",\n"
    out.write("\n]\n" if separator != "\n" else "]\n")


def write_parquet(cursor: duckdb.DuckDBPyConnection, out: Path) -> int:
    """Rows as a Parquet file, which appears once it is whole; return their number."""
    import pyarrow.parquet as pq

    partial = out.with_name(f".{out.name}.partial")
    rows = 0
    try:
        reader = cursor.to_arrow_reader(BATCH_ROWS)
        with pq.ParquetWriter(partial, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def some_rows(cursor: duckdb.DuckDBPyConnection, most: int) -> tuple[list[str], list[dict[str, Any]], bool]:
    """Column names, at most `most` rows, and whether there are more."""
    names = _names(cursor)
    rows = cursor.fetchmany(most + 1)
    return names, [dict(zip(names, row, strict=True)) for row in rows[:most]], len(rows) > most


def json_value(value: Any) -> Any:
    """A value as JSON knows it: no NaN, times as ISO text, bytes as hex."""
    match value:
        case float():
            known: Any = value if math.isfinite(value) else None
        case Decimal():
            known = float(value)
        case dt.datetime() | dt.date() | dt.time():
            known = value.isoformat()
        case dt.timedelta() | uuid.UUID():
            known = str(value)
        case bytes():
            known = value.hex()
        case list() | tuple():
            known = [json_value(one) for one in value]
        case dict():
            known = {str(key): json_value(one) for key, one in value.items()}
        case _:
            known = value
    return known


def _names(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """Column names; a name that comes twice gets a number, so that no column is lost."""
    names: list[str] = []
    for column in cursor.description or []:
        name, number = column[0], 2
        while name in names:
            name, number = f"{column[0]}_{number}", number + 1
        names.append(name)
    return names


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict | tuple):
        return json.dumps(json_value(value), ensure_ascii=False)
    if isinstance(value, bytes | dt.datetime | dt.date):
        return json_value(value)
    return value
