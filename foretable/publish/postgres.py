"""The published tables in a Postgres database, through psycopg: all of them change in one transaction.

Each is written under a name of its own first; then the old ones go and the new ones take their names, in the moment of
the commit. Who may read the old table may read the new one.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretable.load.credentials import Credentials
from foretable.publish.errors import PublishError
from foretable.publish.tables import Relation, exported_tables
from foretable.query import BATCH_ROWS, json_value
from ibis_features.reader import PUBLISHED, open_reader

if TYPE_CHECKING:
    import duckdb
    import psycopg

WAIT_SECONDS = 60
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of a NUL in JSON; after an odd number of backslashes before it, it is a text that spells it."""
LOCK_TIMEOUT = "200ms"
"""Below the second after which Postgres looks for deadlocks."""
TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "numeric",
    "UTINYINT": "smallint",
    "USMALLINT": "integer",
    "UINTEGER": "bigint",
    "UBIGINT": "numeric",
    "UHUGEINT": "numeric",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "VARCHAR": "text",
    "UUID": "uuid",
    "BLOB": "bytea",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "INTERVAL": "interval",
}
"""DuckDB's types as Postgres names them. DECIMAL keeps its digits; lists, structs, maps become jsonb, others text."""


def write_postgres(published: Path, address: str, credentials: Credentials, *, schema: str) -> int:
    """Write the tables of a published file into a schema of the database; return how many.

    address: postgresql://…, in which ${NAME} is taken from the environment.

    Raises PublishError where the database cannot be reached, where a table of that name is there that no publish has
    written, and where a view rests on one of ours. The database is then as it was.
    """
    import psycopg

    with open_reader(published) as source, _connect(address, credentials) as target:
        try:
            with target.transaction():
                return _replace_all(source, target, schema)
        except psycopg.errors.DependentObjectsStillExist as error:
            raise PublishError(
                f"Postgres: {_first_line(error)}. A table is replaced as a whole: drop what rests on it, or publish "
                "into another schema with --schema NAME and let a view there be made anew after each publish"
            ) from None
        except psycopg.errors.LockNotAvailable:
            raise PublishError(
                f"Postgres: a query has held a published table for {WAIT_SECONDS} seconds; let it end, then publish "
                "again"
            ) from None
        except psycopg.Error as error:
            raise PublishError(f"Postgres: {credentials.redact(_first_line(error))}") from None


def _connect(address: str, credentials: Credentials) -> psycopg.Connection:
    import psycopg

    from foretable.load.postgres import read_address

    text, timeout = read_address(address, credentials)
    try:
        return psycopg.connect(text, connect_timeout=timeout)
    except psycopg.Error as error:
        raise PublishError(f"Postgres: {credentials.redact(_first_line(error))}") from None


def _replace_all(source: duckdb.DuckDBPyConnection, target: psycopg.Connection, schema: str) -> int:
    from psycopg import sql

    target.execute("select pg_advisory_xact_lock(hashtext('foretable publish'))")
    # To create a schema that is there takes the right to create one, too.
    if target.execute("select count(*) from pg_namespace where nspname = %s", [schema]).fetchone() == (0,):
        target.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    tables = exported_tables(source)
    ours = _published_before(source, target, schema)
    named = "select relname from pg_class where relnamespace = (select oid from pg_namespace where nspname = %s)"
    there = {row[0] for row in target.execute(named, [schema]).fetchall()}
    if foreign := sorted({table.name for table in tables} & (there - ours)):
        raise PublishError(
            f"the schema {schema} holds a relation {foreign[0]} that no publish has written, and it stays as it is; "
            "publish into another schema with --schema NAME"
        )
    for place, table in enumerate(tables):
        _write(source, target, table, sql.Identifier(schema, _new(place)))
    _lock(target, schema, sorted(ours & there))
    grants = {name: _grants(target, schema, name) for name in ours & there}
    for name in sorted(ours & there):
        target.execute(sql.SQL("drop table {}").format(sql.Identifier(schema, name)))
    for place, table in enumerate(tables):
        renamed = sql.SQL("alter table {} rename to {}")
        target.execute(renamed.format(sql.Identifier(schema, _new(place)), sql.Identifier(table.name)))
        for grantee, privilege in grants.get(table.name, ()):
            who = sql.Identifier(grantee) if grantee else sql.SQL("public")
            target.execute(
                sql.SQL("grant {} on {} to {}").format(sql.SQL(privilege), sql.Identifier(schema, table.name), who)
            )
    return len(tables)


def _lock(target: psycopg.Connection, schema: str, names: list[str]) -> None:
    """Take the old tables from new readers, all of them or none: to hold one and wait for another could be waiting for
    a reader that waits for the first. New readers queue for LOCK_TIMEOUT at most. Raises LockNotAvailable in the end.
    """
    import psycopg
    from psycopg import sql

    if not names:
        return
    tables = sql.SQL(", ").join(sql.Identifier(schema, name) for name in names)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with target.transaction():
                target.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
                target.execute(sql.SQL("lock table {} in access exclusive mode").format(tables))
            return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _new(place: int) -> str:
    """The name of a table until it takes the old one's: short, since Postgres cuts names off."""
    return f"foretable_new_{place}"


def _published_before(source: duckdb.DuckDBPyConnection, target: psycopg.Connection, schema: str) -> set[str]:
    """The tables that the last publish has written there, so that this one may replace them.

    Raises PublishError where it published a warehouse of another name.
    """
    from psycopg import sql

    marker = sql.Identifier(schema, PUBLISHED)
    if target.execute("select to_regclass(%s)", [marker.as_string(target)]).fetchone() == (None,):
        return set()
    row = target.execute(sql.SQL("select tables, warehouse from {}").format(marker)).fetchone()
    told = source.execute(f"select warehouse from {PUBLISHED}").fetchone()
    if row is None or told is None or row[1] != told[0]:
        raise PublishError(
            f"the schema {schema} was published from {row[1] if row else 'nothing'}, not from "
            f"{told[0] if told else 'nothing'}; publish into another schema with --schema NAME"
        )
    written = [Relation.named(one["table_name"]) for one in row[0]]
    return {PUBLISHED, *(relation.name for relation in written if relation.is_exported)}


def _grants(target: psycopg.Connection, schema: str, name: str) -> list[tuple[str | None, str]]:
    """Who may do what with a table beside its owner; no name is everybody."""
    return target.execute(
        """
        select roles.rolname, entries.privilege_type
        from pg_class as tables
        cross join aclexplode(tables.relacl) as entries
        left join pg_roles as roles on entries.grantee = roles.oid
        where
            tables.relnamespace = (select oid from pg_namespace where nspname = %s)
            and tables.relname = %s
            and entries.grantee <> tables.relowner
        """,
        [schema, name],
    ).fetchall()


def _write(source: duckdb.DuckDBPyConnection, target: psycopg.Connection, table: Relation, name: Any) -> None:
    from psycopg import sql

    columns = [(row[0], row[1]) for row in source.execute(f"describe {table.sql}").fetchall()]
    described = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_type(kind))) for column, kind in columns
    )
    target.execute(sql.SQL("create table {} ({})").format(name, described))
    kinds = [kind for _, kind in columns]
    cursor = source.execute(f"from {table.sql}")
    with target.cursor() as writer, writer.copy(sql.SQL("copy {} from stdin").format(name)) as copy:
        for row in _rows(cursor):
            copy.write_row([_value(value, kind, table) for value, kind in zip(row, kinds, strict=True)])


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := cursor.fetchmany(BATCH_ROWS):
        yield from rows


def _type(kind: str) -> str:
    if re.fullmatch(r"DECIMAL\(\d+,\d+\)", kind):
        return kind.replace("DECIMAL", "numeric")
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "JSON")):
        return "jsonb"
    return TYPES.get(kind, "text")


def _value(value: Any, kind: str, table: Relation) -> Any:
    """A value of DuckDB's type `kind` as psycopg copies it; JSON comes out of DuckDB as its text already."""
    if value is None:
        return None
    written = _type(kind)
    is_dumped = written == "jsonb" and kind != "JSON"
    text = json.dumps(json_value(value), ensure_ascii=False) if is_dumped else value
    if isinstance(text, str) and ("\0" in text or (written == "jsonb" and _NUL.search(text))):
        raise PublishError(f"a text of {table} holds a NUL character, which Postgres cannot; take it out of the log")
    return text if written != "text" else str(text)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split()) or type(error).__name__
