"""What a warehouse has to publish: its predictions, tables and macros, and what stays behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foretable.publish.macros import Macro, left_out, macros_of
from foretable.publish.personal import SALT, Personal, read_salt
from foretable.publish.tables import Published, Relation, Serving, published_tables, serving_of
from ibis_features.catalog import read_manifest
from udfs.compiling.store import FUNCTIONS, SCHEMA
from udfs.quoting import literal

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Content:
    """What the warehouse has to publish. `left_out` gives the macros that stay behind, and why."""

    serving: Sequence[Serving]
    tables: Sequence[Published]
    macros: Sequence[Macro]
    left_out: Mapping[str, str]


def content_of(con: duckdb.DuckDBPyConnection, state: Path, mode: str) -> Content:
    """What the warehouse in use has to publish; the SELECTs of its tables run on this connection, which has the salt.

    Raises NotFoundError where there is nothing, and PublishError where it is not known what is personal.
    """
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
    return Content(
        serving,
        [_telling(one, behind) for one in tables],
        [macro for macro in macros if macro.name not in behind],
        behind,
    )


def _telling(one: Published, behind: Mapping[str, str]) -> Published:
    """`scores.describe()` of the file says of a macro that stays behind that it is not there, and why."""
    if one.relation != Relation.named(FUNCTIONS) or not behind:
        return one
    reasons = ", ".join(
        f"({literal(f'{SCHEMA}.{name}')}, {literal(f'not there: {reason}')})" for name, reason in behind.items()
    )
    return replace(
        one,
        select="select functions.* replace (functions.is_there and behind.reason is null as is_there, "
        "coalesce(behind.reason, functions.meaning) as meaning) "
        f"from {one.relation.sql} as functions "
        f"left join (values {reasons}) as behind (name, reason) on functions.function_name = behind.name",
    )
