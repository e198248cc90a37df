"""The newest features of a few entities, from a table that is laid out for looking them up."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import duckdb

from ibis_features.errors import ConfigError, EntitiesError, NotFoundError
from ibis_features.schema import CATEGORY
from ibis_features.tables import AS_OF, FeatureTable, Picked, quoted

STATEMENTS_KEPT = 64
IDS_AT_ONCE = 100
WARM_EVERY = 2_000
"""Of so many rows one is looked up beforehand: a block holds more, of a column of numbers 32,768."""
MOST_WARMED = 2_000
OPTIMIZERS = {"expression_rewriter", "filter_pushdown", "in_clause", "unused_columns"}
"""All that a lookup by key needs; the others take a third of the time of a lookup and find nothing to do."""


class OnlineConnection:
    """A connection of its own to the warehouse file, on one thread: two threads cost a lookup more than they save.

    It stands beside other connections of this process to the file, whatever their settings. Each thread that looks
    something up gets a cursor.
    """

    def __init__(self, source: Path | duckdb.DuckDBPyConnection) -> None:
        self._local = threading.local()
        self._owned = isinstance(source, Path)
        if isinstance(source, Path):
            self._con = duckdb.connect(config={"threads": 1})
            self._con.execute(f"set disabled_optimizers = '{_needless_optimizers(self._con)}'")
            self._con.execute(f"attach '{str(source).replace(chr(39), chr(39) * 2)}' as warehouse (read_only)")
            self.database: str | None = "warehouse"
        else:
            self._con = source
            self.database = None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._con.cursor()
        return cursor

    def spread(self, table: FeatureTable) -> list[Any]:
        """Ids that lie all over a table of a file, one of WARM_EVERY rows; of a caller's own connection none."""
        if not self._owned:
            return []
        cursor = self.cursor()
        counted = cursor.execute(
            "select estimated_size from duckdb_tables() where (database_name, schema_name, table_name) = (?, ?, ?)",
            [self.database, table.schema, table.name],
        ).fetchone()
        if not counted or counted[0] < WARM_EVERY:  # a view is not counted
            return []
        step = max(WARM_EVERY, counted[0] // MOST_WARMED)
        keys = ", ".join(map(quoted, table.keys))
        found = cursor.execute(f"select {keys} from {table.relation} where rowid % {step} = 0").fetchall()
        return [row if len(row) > 1 else row[0] for row in found if None not in row]

    def close(self) -> None:
        if self._owned:
            self._con.close()


class Lookup:
    """Reads some features of one entity: `lookup(["u1", "u2"])`. Prepared once, then called as often as wanted.

    Preparing it reads the columns and the index of a file into memory, as far as they fit (a million users and 20
    features: 0.2 s): whoever first meets a block of each column would wait for 5 ms and more.
    """

    def __init__(self, connection: OnlineConnection, table: FeatureTable, features: Sequence[Picked]) -> None:
        self._connection = connection
        self._table = table
        self._names = [*table.keys, *(one.name for one in features), AS_OF]
        if len(set(self._names)) != len(self._names):
            raise ConfigError(f"a feature is named like a key or as_of: {', '.join(self._names)}; name it anew")
        columns = [*table.keys, *(one.column for one in features), AS_OF]
        there = replace(table, database=connection.database or table.database)
        self._select = f"select {', '.join(map(quoted, columns))} from {there.relation} where "
        self._statements: dict[int, duckdb.Statement] = {}
        self._check = [_id_check(key, table) for key in table.keys]
        ids = connection.spread(there)
        for first in range(0, len(ids), IDS_AT_ONCE):
            self(ids[first : first + IDS_AT_ONCE])

    def __call__(self, ids: Any) -> list[dict[str, Any]]:
        """One dict an id, in the order given: the key, the features, and the `as_of` they were known at.

        An id that is not in the newest snapshot has None for all of them. An entity of two keys takes pairs.
        Raises EntitiesError where an id is of another type than the table's.
        """
        given = [ids] if isinstance(ids, str | tuple) or not hasattr(ids, "__iter__") else list(ids)
        if len(self._check) == 1:
            check = self._check[0]
            wanted: list[Any] = [check(one) for one in given]
            values = wanted
        else:
            wanted = [self._pair(one) for one in given]
            values = [one[0] for one in wanted] + [part for one in wanted for part in one]
        if not wanted:
            return []
        names, width = self._names, len(self._check)
        rows = self._connection.cursor().execute(self._statement(len(wanted)), values).fetchall()
        if width == 1:
            found: dict[Any, tuple[Any, ...]] = {row[0]: row for row in rows}
        else:
            found = {row[:width]: row for row in rows}
        missing = (None,) * (len(names) - width)
        return [
            dict(zip(names, found.get(one) or ((one,) if width == 1 else one) + missing, strict=True)) for one in wanted
        ]

    def _pair(self, one: Any) -> tuple[Any, ...]:
        if not isinstance(one, tuple | list) or len(one) != len(self._check):
            raise EntitiesError(f"an id of {self._table.entity} is ({', '.join(self._table.keys)}); got {one!r}")
        return tuple(check(part) for check, part in zip(self._check, one, strict=True))

    def _statement(self, count: int) -> duckdb.Statement:
        """The SELECT of so many ids. Its text is parsed once; DuckDB finds the rows by the index on the first key."""
        statement = self._statements.get(count)
        if statement is None:
            keys = [quoted(key) for key in self._table.keys]
            condition = f"{keys[0]} in ({', '.join('?' * count)})"
            if len(keys) > 1:
                pair = f"({', '.join('?' * len(keys))})"
                condition += f" and ({', '.join(keys)}) in ({', '.join([pair] * count)})"
            statement = self._connection.cursor().extract_statements(self._select + condition)[0]
            if len(self._statements) < STATEMENTS_KEPT:
                self._statements[count] = statement
        return statement


def online_table(tables: dict[str, FeatureTable], entity: str) -> FeatureTable:
    """`online__<entity>`; raises NotFoundError that says how to make one."""
    table = tables.get(f"online__{entity}")
    if table is None:
        known = ", ".join(name.removeprefix("online__") for name in tables if name.startswith("online__"))
        raise NotFoundError(
            f"no table online__{entity} in the warehouse (there is one for: {known or 'no entity'}); build it with "
            f"`foretable build --select online__{entity}`, or add that model with materialized='online'"
        )
    return table


def _needless_optimizers(con: duckdb.DuckDBPyConnection) -> str:
    names = [name for (name,) in con.execute("select name from duckdb_optimizers()").fetchall()]
    return ",".join(name for name in names if name not in OPTIMIZERS)


def _id_check(key: str, table: FeatureTable) -> Any:
    sql_type = table.columns[key]

    def text(value: Any) -> str:
        if not isinstance(value, str):
            raise EntitiesError(f"{key} is text in {table.name}; got {value!r}, which is {type(value).__name__}")
        return str(value)

    def whole(value: Any) -> int:
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise EntitiesError(f"{key} is {sql_type} in {table.name}; got {value!r}, which is {type(value).__name__}")
        return int(value)

    return text if CATEGORY.match(sql_type) and sql_type != "UUID" else whole
