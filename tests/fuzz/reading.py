"""The macro `raw_table` as it stands in the project, rendered by Jinja without dbt, and the compiled models after it.

A dbt run takes seconds; this takes milliseconds, and the SQL that reads the file is the same.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import pyarrow as pa

from tests.conftest import DBT_PROJECT
from tests.pipeline import EVENT_COLUMNS, Pipeline
from udfs.log_files import register_reader

STAGED = ("stg_events", "int_events__versions", "int_events__matched", "duplicates__events", "quarantine__events")
EVENT_TYPE_NAMES = DBT_PROJECT / "seeds" / "event_type_names.csv"
LANDING = "landing"


class RefusedError(Exception):
    """The build ended with this plain error."""


class _ReturnedError(Exception):
    def __init__(self, value: object) -> None:
        self.value = value


class _Macros:
    """dbt's namespace of the project's macros: what a macro returns is a value, not text."""

    def __init__(self, module: Any, settings: dict[str, object]) -> None:
        self._module, self._settings = module, settings

    def setting(self, name: str) -> object:
        return self._settings.get(name)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: object) -> object:
            try:
                return getattr(self._module, name)(*arguments)
            except _ReturnedError as returned:
                return returned.value

        return call


class _Relation(str):
    def without_identifier(self) -> str:
        return self.rsplit(".", 1)[0]


SOURCE = "".join((DBT_PROJECT / "macros" / file).read_text() for file in ("raw_table.sql", "contract.sql"))
TEMPLATE = jinja2.Environment(extensions=["jinja2.ext.do"]).from_string(SOURCE)


def raw_table(
    con: duckdb.DuckDBPyConnection, table: str, *, data: Path | None = None, schema: str | None = None
) -> str:
    """The SELECT of the macro `raw_table`. Raises RefusedError."""

    def refuse(text: str) -> None:
        raise RefusedError(text)

    def give_back(value: object) -> None:
        raise _ReturnedError(value)

    def run_query(sql: str) -> SimpleNamespace:
        try:
            done = con.execute(sql)
            rows = done.fetchall()
        except duckdb.Error as error:
            raise RefusedError(str(error)) from error
        columns = list(zip(*rows, strict=True)) or [()] * len(done.description or ())
        return SimpleNamespace(
            rows=rows, columns=[SimpleNamespace(values=lambda found=found: found) for found in columns]
        )

    def create(*, database: str, schema: str, identifier: str) -> _Relation:
        return _Relation(f"{database}.{schema}.{identifier}")

    namespace: dict[str, object] = {
        "execute": True,
        "return": give_back,
        "run_query": run_query,
        "modules": SimpleNamespace(re=re),
        "target": SimpleNamespace(database="compiled"),
        "generate_schema_name": lambda name, node: name,
        "exceptions": SimpleNamespace(raise_compiler_error=refuse),
        "api": SimpleNamespace(Relation=SimpleNamespace(create=create)),
        "adapter": SimpleNamespace(
            quote=lambda name: f'"{name}"', get_relation=lambda database, schema, name: f"{database}.{schema}.{name}"
        ),
    }
    namespace["foretable"] = macros = _Macros(None, {"data": str(data), "raw_schema": schema})
    macros._module = TEMPLATE.make_module(namespace)
    return macros.raw_table(table)


def build(
    pipeline: Pipeline, *, data: Path | None = None, relation: pa.Table | None = None
) -> duckdb.DuckDBPyConnection:
    """Read the events of a folder, or a relation, and clean them. Raises RefusedError."""
    con = duckdb.connect(config={"threads": 1})
    con.execute("attach ':memory:' as compiled; use compiled; create schema staging; create schema cleaning")
    con.execute(f"create table staging.event_type_names as from read_csv('{EVENT_TYPE_NAMES}', header = true)")
    register_reader(con)
    if relation is not None:
        con.register("given", relation)
        con.execute(f"create schema {LANDING}; create table {LANDING}.events as from given")
    sql = raw_table(con, "events", data=data, schema=LANDING if relation is not None else None)
    try:
        con.execute(f"create table staging.contract__events as {sql}")
    except duckdb.Error as error:
        raise RefusedError(str(error)) from error
    for model in pipeline.models():
        if model["name"] in STAGED:
            con.execute(f"create table {model['schema']}.{model['name']} as {model['compiled_code']}")
    return con


def quoted(names: Sequence[str]) -> str:
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def usable_rows(con: duckdb.DuckDBPyConnection, unknown: Sequence[str]) -> list[tuple[Any, ...]]:
    columns = quoted([*EVENT_COLUMNS, *unknown])
    return con.execute(f"select {columns} from staging.stg_events where rejection_reason is null").fetchall()
