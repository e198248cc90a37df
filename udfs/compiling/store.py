"""Where compiled models lie in the file: functions in one schema, the tables that they read in another."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

import duckdb
import pyarrow as pa

from udfs.quoting import identifier, literal

SCHEMA = "scores"
MODELS_SCHEMA = "scores_models"
"""Apart from the functions, so that BI tools can hide it."""

FUNCTIONS = f"{MODELS_SCHEMA}.functions"
"""The table that `scores.describe()` reads."""


def create_schemas(con: duckdb.DuckDBPyConnection) -> None:
    for schema in (SCHEMA, MODELS_SCHEMA):
        con.execute(f"create schema if not exists {schema}")


class FunctionNames(NamedTuple):
    """All functions that a prediction may have, without their schema."""

    scalar: str
    table: str
    explain: str
    of: str
    live: str
    recommend: str


def function_names(prediction: str) -> FunctionNames:
    return FunctionNames(
        prediction,
        f"{prediction}_table",
        f"explain_{prediction}",
        f"{prediction}_of",
        f"{prediction}_live",
        f"recommend_{prediction}",
    )


def function(name: str) -> str:
    """In the schema of whichever database is in use: a file keeps its macros when it is renamed."""
    return f"{SCHEMA}.{identifier(name)}"


def model_table(prediction: str, role: str) -> str:
    return f"{MODELS_SCHEMA}.{identifier(f'{role}__{prediction}')}"


def write_model_tables(con: duckdb.DuckDBPyConnection, prediction: str, tables: Mapping[str, pa.Table]) -> str:
    """Store the tables, each with the column `fingerprint`; return the fingerprint of all of them."""
    mark = _fingerprint(tables)
    for role, table in tables.items():
        with registered(con, table) as relation:
            con.execute(
                f"create or replace table {model_table(prediction, role)} as "
                f"select *, {literal(mark)} as fingerprint from {relation}"
            )
    return mark


def checked_table(prediction: str, role: str, mark: str) -> str:
    """The relation of a model table; reading it is an error where the table is of another version than the macro."""
    stale = literal(
        f"the macro {SCHEMA}.{prediction} and the table {MODELS_SCHEMA}.{role}__{prediction} are of different "
        "versions; if the macro lies in an attached database, say `use` first"
    )
    return (
        f"(select stored.* from {model_table(prediction, role)} as stored "
        f"where case when stored.fingerprint = {literal(mark)} then true else error({stale})::BOOLEAN end)"
    )


def drop_model_tables(con: duckdb.DuckDBPyConnection, prediction: str) -> None:
    rows = con.execute(
        "select table_name from duckdb_tables() where database_name = current_database() and schema_name = ?",
        [MODELS_SCHEMA],
    ).fetchall()
    for (name,) in rows:
        role, _, owner = name.partition("__")
        if owner == prediction:
            con.execute(f"drop table {model_table(prediction, role)}")


@contextmanager
def registered(con: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[str]:
    """An Arrow table under a name in SQL."""
    name = "foretable_compiling"
    con.register(name, table)
    try:
        yield name
    finally:
        with suppress(duckdb.TransactionException):  # the transaction failed; the view goes with it
            con.unregister(name)


def one_list(values: pa.Array) -> pa.ListArray:
    """A column of one row, which holds all these values."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _fingerprint(tables: Mapping[str, pa.Table]) -> str:
    state = hashlib.sha256()
    for role, table in sorted(tables.items()):
        state.update(role.encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.combine_chunks())
        state.update(sink.getvalue())
    return state.hexdigest()
