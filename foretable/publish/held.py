"""What the published file holds already, just as a new one would: it need not be written, or compared, once more.

Nothing is taken on trust. The columns and rows of each table, by a hash of all rows, and the text of each macro are
those of the warehouse at this moment, whatever wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foretable.publish.content import Content
from foretable.publish.macros import Macro, macro_texts
from foretable.publish.mark import mark_of, read_mark, releases
from foretable.publish.tables import Relation, relations_of
from ibis_features.reader import PUBLISHED
from udfs.compiling.store import SCHEMA, function_names
from udfs.decision import is_copy
from udfs.quoting import current_database, literal

if TYPE_CHECKING:
    import duckdb

BEFORE = "foretable_before"


@dataclass(frozen=True)
class Held:
    """is_all: the file is the one that would be written, but for its build_id; `rows` are then those of each table.

    predictions: those of which the scores, all that was scored, and the macros with all that they read and call are in
    the file already. They were compared when it was published.
    """

    is_all: bool
    rows: Mapping[str, int]
    predictions: frozenset[str]


NOTHING = Held(is_all=False, rows={}, predictions=frozenset())


def held_by(con: duckdb.DuckDBPyConnection, file: Path, content: Content, warehouse: Path, personal: str) -> Held:
    """Compare a published file with the content of the warehouse that is in use.

    A file of another release of foretable or DuckDB holds nothing: there a macro may say something else.
    """
    con.execute(f"attach {literal(str(file))} as {BEFORE} (read_only)")
    try:
        stored = read_mark(con, BEFORE)
        if any(stored.get(name) != value for name, value in releases(con).items()):
            return NOTHING
        there = set(relations_of(con, BEFORE)) - {Relation("main", PUBLISHED)}
        tables = frozenset(
            one.relation
            for one in content.tables
            if one.relation in there and is_copy(con, f"{BEFORE}.{one.relation.sql}", f"({one.select})")
        )
        before = macro_texts(con, BEFORE)
        now = macro_texts(con, current_database(con), content.macros)
        predictions = _held_predictions(content, tables, _held_macros(content, tables, before, now))
        if before != now or not tables == there == {one.relation for one in content.tables}:
            return Held(is_all=False, rows={}, predictions=predictions)
        rows = _row_counts(con, content)
        is_all = stored == mark_of(con, warehouse, personal, rows, content.serving)
        return Held(is_all, rows, predictions)
    finally:
        con.execute(f"detach {BEFORE}")


def _row_counts(con: duckdb.DuckDBPyConnection, content: Content) -> dict[str, int]:
    counts = {}
    for one in content.tables:
        row = con.execute(f"select count(*) from {BEFORE}.{one.relation.sql}").fetchone()
        assert row is not None
        counts[str(one.relation)] = row[0]
    return counts


def _held_macros(
    content: Content, tables: frozenset[Relation], before: Mapping[str, str], now: Mapping[str, str]
) -> set[str]:
    """The macros that are in the file, with all that they read and call."""
    changed = {one.relation for one in content.tables} - tables
    gone = {
        macro.name for macro in content.macros if before.get(macro.name) != now[macro.name] or macro.reads & changed
    }
    while calling := {macro.name for macro in content.macros if _calls_any(macro, gone)} - gone:
        gone |= calling
    return {macro.name for macro in content.macros} - gone


def _calls_any(macro: Macro, names: set[str]) -> bool:
    return any(schema == SCHEMA and name in names for schema, name in macro.calls)


def _held_predictions(content: Content, tables: frozenset[Relation], macros: set[str]) -> frozenset[str]:
    """A prediction whose scorer reads a personal feature is none of them: the file does not have that feature."""
    lacking = {one.relation for one in content.tables if one.lacks}
    whole = tables - lacking
    published = {macro.name for macro in content.macros}
    return frozenset(
        one.prediction
        for one in content.serving
        if {one.scores, one.examples} <= whole and published & set(function_names(one.prediction)) <= macros
    )
