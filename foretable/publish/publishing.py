"""Write a build into a new file, check it, and put it in the place of the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from foretable.publish import replacing
from foretable.publish.errors import PublishError
from foretable.publish.macros import Macro, copy_macros, left_out, macros_of
from foretable.publish.parity import check_parity
from foretable.publish.personal import SALT, Personal, read_salt
from foretable.publish.tables import PREFIXES, Published, Serving, published_tables, relations_of, serving_of
from ibis_features.catalog import read_manifest
from ibis_features.reader import PUBLISHED, is_published, open_reader
from udfs.compiling.store import FUNCTIONS, SCHEMA
from udfs.quoting import current_database, identifier, literal

if TYPE_CHECKING:
    import duckdb

FORMAT = 1
"""Of the row in `_published` and of which tables there are; a greater one is another release's."""
STORAGE_VERSION = "v1.1.0"
"""Of the file: the oldest DuckDB that reads it."""
FILE = "foretable_published"


@dataclass(frozen=True)
class Publication:
    """A build as it was published. `tables` gives the rows of each; `left_out` the macros that stayed behind, and why;
    `dropped` the columns left out since they are personal, by table. compared: scores that macros were compared with.
    """

    file: Path
    build_id: str
    published_at: datetime
    tables: Mapping[str, int]
    macros: tuple[str, ...]
    left_out: Mapping[str, str]
    dropped: Mapping[str, tuple[str, ...]]
    compared: int


@dataclass(frozen=True)
class _Content:
    """What the warehouse has to publish."""

    serving: Sequence[Serving]
    tables: Sequence[Published]
    macros: Sequence[Macro]
    left_out: Mapping[str, str]


def publish(warehouse: Path, target: Path, *, state: Path, keep: int, personal: str = "drop") -> Publication:
    """Publish the warehouse as the file `target`; whoever has the old one open goes on reading it.

    state: the folder beside the warehouse where the secret of the hashes lies. keep: how many of the builds before
    stay in `<target>.versions/`. personal: drop, hash or keep the columns that are tagged so.

    Raises PublishError where a macro and its scores differ, where the folder cannot be written, and where the target
    is another thing than this warehouse's published file; NotFoundError where there is nothing to publish. The old
    file is then as it was.
    """
    with replacing.only_one(target.parent):
        replacing.remove_partials(target)
        old_build = _build_in(target, warehouse)
        published_at = datetime.now(UTC).replace(tzinfo=None)
        build_id = f"{published_at:%Y%m%dT%H%M%S%f}Z"
        partial = replacing.partial_of(target, build_id)
        try:
            rows, content = _write(partial, warehouse, build_id, published_at, state, personal)
            compared = check_parity(partial, warehouse, content.serving, content.macros)
            replacing.replace_file(partial, target, old_build=old_build, keep=keep)
        finally:
            replacing.remove_partials(target)
    return Publication(
        file=target,
        build_id=build_id,
        published_at=published_at,
        tables=rows,
        macros=tuple(macro.name for macro in content.macros),
        left_out=content.left_out,
        dropped={str(one.relation): one.dropped for one in content.tables if one.dropped},
        compared=compared,
    )


def has_something(warehouse: Path) -> bool:
    """Does the warehouse hold scores or marts that could be published?"""
    with open_reader(warehouse) as con:
        return any(relation.name.startswith(PREFIXES) for relation in relations_of(con))


def _build_in(target: Path, warehouse: Path) -> str | None:
    """The build that the target holds, which a new one may replace; None where there is no target yet."""
    import duckdb

    if not target.exists():
        return None
    other = "name another file with --out"
    if target.is_dir():
        raise PublishError(f"{target} is a folder; {other}")
    try:
        with duckdb.connect(str(target), read_only=True) as con:
            if not is_published(con):
                raise PublishError(f"{target} is a DuckDB file that was not published, and stays as it is; {other}")
            row = con.execute(f"select build_id, warehouse from {PUBLISHED}").fetchone()
    except duckdb.IOException as error:
        raise PublishError(f"{target} cannot be read, and stays as it is ({error}); {other}") from None
    if row is None or row[1] != warehouse.name:
        raise PublishError(f"{target} was published from {row[1] if row else 'nothing'}, not {warehouse.name}; {other}")
    return row[0]


def _write(
    partial: Path, warehouse: Path, build_id: str, published_at: datetime, state: Path, personal: str
) -> tuple[dict[str, int], _Content]:
    """Write the whole file; return the rows of each table and what was there to write."""
    import duckdb

    open_reader(warehouse).close()  # what a killed build has left beside the file is taken in
    with duckdb.connect() as con:
        con.execute(f"attach {literal(str(warehouse))} (read_only)")
        source = con.execute(
            "select database_name from duckdb_databases() where not internal and database_name <> 'memory'"
        ).fetchone()
        assert source is not None
        con.execute(f"use {identifier(source[0])}")
        content = _content(con, state, personal)
        con.execute(f"attach {literal(str(partial))} as {FILE} (storage_version {literal(STORAGE_VERSION)})")
        copy_macros(con, current_database(con), FILE, content.macros)
        rows = {}
        for one in content.tables:
            con.execute(f"create schema if not exists {FILE}.{identifier(one.relation.schema)}")
            done = con.execute(f"create table {FILE}.{one.relation.sql} as {one.select}").fetchone()
            assert done is not None
            rows[str(one.relation)] = done[0]
        _tell_left_out(con, content)
        _mark(con, warehouse, build_id, published_at, personal, rows, content.serving)
        con.execute(f"use memory; detach {FILE}")
    return rows, content


def _tell_left_out(con: duckdb.DuckDBPyConnection, content: _Content) -> None:
    """`scores.describe()` of the file says of a macro that stays behind that it is not there, and why."""
    if FUNCTIONS not in {f"{one.relation.schema}.{one.relation.name}" for one in content.tables}:
        return
    for name, reason in content.left_out.items():
        con.execute(
            f"update {FILE}.{FUNCTIONS} set is_there = false, meaning = ? where function_name = ?",
            [f"not there: {reason}", f"{SCHEMA}.{name}"],
        )


def _content(con: duckdb.DuckDBPyConnection, state: Path, mode: str) -> _Content:
    manifest = read_manifest(con)
    serving = serving_of(con, manifest)
    keys = frozenset(key.casefold() for one in serving for key in (one.schema.entity, one.schema.item) if key)
    personal = Personal(mode, manifest, keys)
    if mode != "keep":
        personal.check_known()
        con.execute(f"set variable {SALT} = ?", [read_salt(state)])
    tables = published_tables(con, serving, manifest, personal)
    macros = macros_of(con)
    behind = left_out(con, macros, tables)
    return _Content(serving, tables, [macro for macro in macros if macro.name not in behind], behind)


def _mark(
    con: duckdb.DuckDBPyConnection,
    warehouse: Path,
    build_id: str,
    published_at: datetime,
    personal: str,
    rows: Mapping[str, int],
    serving: Sequence[Serving],
) -> None:
    """The one row that says which build this is."""
    from importlib.metadata import version

    predictions = [
        {"prediction": one.prediction, "version": one.version, "as_of": one.newest, "row_count": rows[str(one.scores)]}
        for one in serving
    ]
    con.execute(
        f"""
        create table {FILE}.{PUBLISHED} as
        select
            $build_id::varchar as build_id,
            $warehouse::varchar as warehouse,
            $foretable::varchar as foretable_version,
            version() as duckdb_version,
            {literal(STORAGE_VERSION)} as storage_version,
            $personal::varchar as personal,
            $tables::struct(table_name varchar, row_count bigint)[] as tables,
            $predictions::struct(
                prediction varchar, "version" integer, as_of timestamp, row_count bigint
            )[] as predictions,
            {FORMAT} as format,
            $published_at::timestamp as published_at
        """,
        {
            "build_id": build_id,
            "warehouse": warehouse.name,
            "foretable": version("foretable"),
            "personal": personal,
            "tables": [{"table_name": name, "row_count": count} for name, count in rows.items()],
            "predictions": predictions,
            "published_at": published_at,
        },
    )
