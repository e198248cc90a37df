"""Write a build into a new file, check it, and put it in the place of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from foretable.publish import replacing
from foretable.publish.content import Content, content_of
from foretable.publish.errors import PublishError
from foretable.publish.held import NOTHING, held_by
from foretable.publish.macros import copy_macros
from foretable.publish.mark import STORAGE_VERSION, mark_of, write_mark
from foretable.publish.parity import check_parity
from foretable.publish.tables import PREFIXES, relations_of
from ibis_features.reader import PUBLISHED, is_published, open_reader
from udfs.quoting import current_database, identifier, literal

if TYPE_CHECKING:
    import duckdb

FILE = "foretable_published"


@dataclass(frozen=True)
class Publication:
    """A build as it is published. `tables` gives the rows of each; `left_out` the macros that stayed behind, and why;
    `dropped` the columns left out since they are personal, by table. compared: scores that macros were compared with.
    is_new: False where the file held all of it already and stayed as it was.
    """

    file: Path
    build_id: str
    tables: Mapping[str, int]
    macros: tuple[str, ...]
    left_out: Mapping[str, str]
    dropped: Mapping[str, tuple[str, ...]]
    compared: int
    is_new: bool


def publish(warehouse: Path, target: Path, *, state: Path, keep: int, personal: str = "drop") -> Publication:
    """Publish the warehouse as the file `target`; whoever has the old one open goes on reading it.

    A target that holds already what would be written stays as it is. state: the folder beside the warehouse where the
    secret of the hashes lies. keep: how many of the builds before stay in `<target>.versions/`. personal: drop, hash or
    keep the columns that are tagged so.

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
            with _opened(warehouse) as con:
                content = content_of(con, state, personal)
                held = held_by(con, target, content, warehouse, personal) if old_build else NOTHING
                if held.is_all:
                    rows = held.rows
                else:
                    rows = _write(con, partial, content)
                    mark = mark_of(con, warehouse, personal, rows, content.serving)
                    write_mark(con, FILE, mark, build_id, published_at)
                    con.execute(f"use memory; detach {FILE}")
            if held.is_all:
                doubtful = [one for one in content.serving if one.prediction not in held.predictions]
                compared = check_parity(target, warehouse, doubtful, content.macros)
                replacing.keep_builds(target, keep)
            else:
                compared = check_parity(partial, warehouse, content.serving, content.macros, sampled=held.predictions)
                replacing.replace_file(partial, target, old_build=old_build, keep=keep)
        finally:
            replacing.remove_partials(target)
    return Publication(
        file=target,
        build_id=old_build if old_build and held.is_all else build_id,
        tables=rows,
        macros=tuple(macro.name for macro in content.macros),
        left_out=content.left_out,
        dropped={str(one.relation): one.dropped for one in content.tables if one.dropped},
        compared=compared,
        is_new=not held.is_all,
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


@contextmanager
def _opened(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection without any function of Python, on which the warehouse is in use and stays as it is."""
    import duckdb

    open_reader(warehouse).close()  # what a killed build has left beside the file is taken in
    with duckdb.connect() as con:
        con.execute(f"attach {literal(str(warehouse))} (read_only)")
        source = con.execute(
            "select database_name from duckdb_databases() where not internal and database_name <> 'memory'"
        ).fetchone()
        assert source is not None
        con.execute(f"use {identifier(source[0])}")
        yield con


def _write(con: duckdb.DuckDBPyConnection, partial: Path, content: Content) -> dict[str, int]:
    """Write the tables and macros into a new file, which stays attached; return the rows of each table."""
    con.execute(f"attach {literal(str(partial))} as {FILE} (storage_version {literal(STORAGE_VERSION)})")
    copy_macros(con, current_database(con), FILE, content.macros)
    rows = {}
    for one in content.tables:
        con.execute(f"create schema if not exists {FILE}.{identifier(one.relation.schema)}")
        done = con.execute(f"create table {FILE}.{one.relation.sql} as {one.select}").fetchone()
        assert done is not None
        rows[str(one.relation)] = done[0]
    return rows
