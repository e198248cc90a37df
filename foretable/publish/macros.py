"""The macros of the schema `scores`, taken over as they stand, with defaults and types of their arguments.

A macro stays behind where something that it reads or calls is not in the published file: a function of Python, say, or
a table of raw rows. DuckDB would list such a macro, and a client that calls it would fail.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretable.publish.tables import Published, Relation
from udfs.compiling.store import SCHEMA
from udfs.quoting import identifier, literal

if TYPE_CHECKING:
    import duckdb

SKELETON = "foretable_skeleton"
_CREATED = re.compile(rf'CREATE MACRO {SCHEMA}\.(?:"((?:[^"]|"")+)"|([^ ("]+)) ')
"""How DuckDB writes the beginning of a macro that it exports."""


@dataclass(frozen=True)
class Macro:
    """One macro, whatever forms it has. `reads` are relations and `calls` other functions, by schema and name."""

    name: str
    is_table: bool
    reads: frozenset[Relation]
    calls: frozenset[tuple[str, str]]


def macros_of(con: duckdb.DuckDBPyConnection) -> list[Macro]:
    """The macros of `scores` of the database in use, by name."""
    forms: dict[tuple[str, bool], list[list[dict[str, Any]]]] = {}
    for name, kind, definition in con.execute(
        "select function_name, function_type, macro_definition from duckdb_functions() "
        "where database_name = current_database() and schema_name = ? and not internal order by all",
        [SCHEMA],
    ).fetchall():
        is_table = kind == "table_macro"
        query = definition if is_table else f"select {definition}"
        forms.setdefault((name, is_table), []).append(_nodes(con, query))
    return [
        Macro(
            name,
            is_table,
            frozenset(relation for nodes in trees for relation in _relations(nodes)),
            frozenset(call for nodes in trees for call in _calls(nodes)),
        )
        for (name, is_table), trees in forms.items()
    ]


def left_out(con: duckdb.DuckDBPyConnection, macros: Sequence[Macro], published: Sequence[Published]) -> dict[str, str]:
    """The macros that cannot be in the file, with the reason of each.

    con: a connection on which the warehouse is in use, without any function of Python.
    """
    calls = {name for macro in macros for schema, name in macro.calls if schema != SCHEMA}
    foreign = _not_built_in(con, calls)
    reasons: dict[str, str] = {}
    has_more = True
    while has_more:  # what calls a macro that stays behind stays behind, too
        known = len(reasons)
        for macro in macros:
            kept = {one.name for one in macros} - set(reasons)
            if macro.name not in reasons and (reason := _missing(con, macro, published, kept, foreign)):
                reasons[macro.name] = reason
        has_more = len(reasons) > known
    return reasons


def copy_macros(con: duckdb.DuckDBPyConnection, source: str, target: str, kept: Sequence[Macro]) -> None:
    """Take the macros over from one attached database into another, which holds nothing yet."""
    with _skeleton(con, source, kept):
        con.execute(f"copy from database {SKELETON} to {identifier(target)} (schema)")


def macro_texts(con: duckdb.DuckDBPyConnection, source: str, kept: Sequence[Macro] | None = None) -> dict[str, str]:
    """The macros of an attached database by name, spelled out with defaults and types of their arguments.

    kept: only these; None: all.
    """
    with _skeleton(con, source, kept), tempfile.TemporaryDirectory() as folder:
        con.execute(f"export database {SKELETON} to {literal(folder)}")
        text = (Path(folder) / "schema.sql").read_text(encoding="utf-8")
    texts: dict[str, str] = {}
    for statement in re.split(r";;\n+(?=CREATE |$)", text):
        if found := _CREATED.match(statement):
            name = found[1].replace('""', '"') if found[1] else found[2]
            texts[name] = texts.get(name, "") + statement  # a scalar macro and a table macro may share a name
    return texts


@contextmanager
def _skeleton(con: duckdb.DuckDBPyConnection, source: str, kept: Sequence[Macro] | None) -> Iterator[None]:
    """A database in memory that has the macros and nothing else.

    Only a copy of the whole catalog keeps defaults and types of arguments. It is made without rows, and all else is
    taken out of it again.
    """
    con.execute(f"attach ':memory:' as {SKELETON}")
    try:
        con.execute(f"copy from database {identifier(source)} to {SKELETON} (schema)")
        _strip(con, None if kept is None else {macro.name for macro in kept})
        yield
    finally:
        con.execute(f"detach {SKELETON}")


def _strip(con: duckdb.DuckDBPyConnection, kept: set[str] | None) -> None:
    """Drop all of the skeleton but the macros that are kept; None: all of them."""
    for (schema,) in con.execute(
        "select schema_name from duckdb_schemas() where database_name = ? and not internal and schema_name <> ?",
        [SKELETON, SCHEMA],
    ).fetchall():
        con.execute(f"drop schema {SKELETON}.{identifier(schema)} cascade")
    entries = con.execute(
        """
        select 'view', schema_name, view_name from duckdb_views() where database_name = $db and not internal
        union all
        select 'table', schema_name, table_name from duckdb_tables() where database_name = $db
        union all
        select distinct
            case function_type when 'table_macro' then 'macro table' else 'macro' end, schema_name, function_name
        from duckdb_functions()
        where
            database_name = $db and not internal
            and not (schema_name = $schema and ($kept is null or list_contains($kept, function_name)))
        """,
        {"db": SKELETON, "schema": SCHEMA, "kept": None if kept is None else sorted(kept)},
    ).fetchall()
    for kind, schema, name in entries:
        con.execute(f"drop {kind} if exists {SKELETON}.{identifier(schema)}.{identifier(name)} cascade")


def _missing(
    con: duckdb.DuckDBPyConnection, macro: Macro, published: Sequence[Published], kept: set[str], foreign: set[str]
) -> str | None:
    """What the macro needs and the file has not, in words."""
    there = {one.relation for one in published}
    if gone := sorted(str(relation) for relation in macro.reads - there if _exists(con, relation)):
        return f"it reads {gone[0]}, which is not published"
    for one in published:
        if one.lacks and one.relation in macro.reads:
            return f"it reads the personal {', '.join(one.lacks)} of {one.relation}, which are left out"
    for schema, name in sorted(macro.calls):
        if schema == SCHEMA:
            if name not in kept:
                return f"it calls {SCHEMA}.{name}, which stays behind"
        elif name in foreign:
            return f"it calls {name}, which is not in the file"
    return None


def _exists(con: duckdb.DuckDBPyConnection, relation: Relation) -> bool:
    """Is it a relation of the warehouse? A name without a schema may be that of a CTE or of an argument."""
    found = con.execute(
        "select count(*) from information_schema.tables where table_catalog = current_database() "
        "and table_schema = ? and table_name = ?",
        [relation.schema, relation.name],
    ).fetchone()
    return bool(found and found[0])


def _not_built_in(con: duckdb.DuckDBPyConnection, names: set[str]) -> set[str]:
    """The functions that DuckDB itself does not know. Its list lacks what the parser makes of syntax: there the binder
    says.

    The list is read once, since it spells every macro of the file out.
    """
    import duckdb

    listed = con.execute(
        "select function_name, bool_or(database_name = 'system') from duckdb_functions() "
        "where database_name in ('system', current_database()) group by function_name"
    ).fetchall()
    is_built_in = dict(listed)
    for name in names - is_built_in.keys():
        is_built_in[name] = False
        for call in (f"select {identifier(name)}()", f"from {identifier(name)}()"):
            try:
                con.execute(f"explain {call}")
            except duckdb.CatalogException:
                continue
            except duckdb.Error:
                pass
            is_built_in[name] = True
            break
    return {name for name in names if not is_built_in[name]}


def _relations(nodes: Sequence[dict[str, Any]]) -> Iterator[Relation]:
    ctes = {key for node in nodes for key in _cte_names(node)}
    for node in nodes:
        if node.get("type") == "BASE_TABLE":
            schema, name = node.get("schema_name"), node["table_name"]
            if schema or name not in ctes:
                yield Relation(schema or "main", name)


def _cte_names(node: dict[str, Any]) -> Iterator[str]:
    for entry in (node.get("cte_map") or {}).get("map", []):
        yield entry["key"]


def _calls(nodes: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if "function_name" in node and not node.get("is_operator"):
            yield node.get("schema") or "", node["function_name"]


def _nodes(con: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The objects of a parsed query that name a relation, a function or CTEs: few of the thousands in one of trees."""
    parsed = con.execute(
        "select json_serialize_sql(?::varchar, skip_null := true, skip_empty := true, skip_default := true)", [query]
    ).fetchone()
    assert parsed is not None
    found = []

    def note(node: dict[str, Any]) -> dict[str, Any]:
        if "table_name" in node or "function_name" in node or "cte_map" in node:
            found.append(node)
        return node

    json.loads(parsed[0], object_hook=note)
    return found
