"""What a DuckDB file offers: its predictions, each with its table of scores, its functions, and the rows to score.

A warehouse and a published file are told by their catalogs alone, so that neither Python models nor foretable's state
are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from ibis_features.errors import ConfigError
from ibis_features.tables import quoted

PREFIX = "pred__"
ROWS = "examples__"
"""The rows that predictions read: all of them in a warehouse, those of the newest snapshot in a published file."""
SCHEMA = "scores"


@dataclass(frozen=True)
class Offer:
    """One prediction. Relations and functions are quoted SQL names; None where the file has no such thing.

    item: the key of what is put in order for the entity; None where nothing is, and an entity has one score. features:
    what the macro takes, name to SQL type, in its order. left_out: those that the rows of the file lack, as
    a published file leaves out what is personal.
    """

    name: str
    table: str
    entity: str
    entity_type: str
    item: str | None
    as_of: str
    columns: tuple[str, ...]
    rows: str | None
    macro: str | None
    explainer: str | None
    features: Mapping[str, str]
    left_out: tuple[str, ...]

    @property
    def is_probability(self) -> bool:
        """Is a score one? Only such scores reach a threshold or do not."""
        return "predicted_label" in self.columns

    @property
    def has_reasons(self) -> bool:
        return "reasons" in self.columns


def read_offers(con: duckdb.DuckDBPyConnection) -> dict[str, Offer]:
    """The predictions of the database in use, by name; raises ConfigError where two have one name."""
    tables = _tables(con)
    macros = _macros(con)
    offers: dict[str, Offer] = {}
    for (schema, table), columns in tables.items():
        if not table.startswith(PREFIX):
            continue
        name = table.removeprefix(PREFIX)
        if not {"version", "score", "scored_at"} <= set(columns):
            continue  # a table that is only named like one of scores
        if name in offers:
            raise ConfigError(f"the file has two tables {table}, in two schemas; rename one of them")
        names = tuple(columns)
        entity, as_of = names[0], names[names.index("scored_at") - 1]
        rows = next((key for key in tables if key[1] == ROWS + name), None)
        taken = macros.get(name, ())
        types = tables[rows] if rows else {}
        offers[name] = Offer(
            name=name,
            table=_relation(schema, table),
            entity=entity,
            entity_type=columns[entity],
            item=names[1] if "item_rank" in columns else None,
            as_of=as_of,
            columns=names,
            rows=_relation(*rows) if rows else None,
            macro=_relation(SCHEMA, name) if taken else None,
            explainer=_relation(SCHEMA, f"explain_{name}") if f"explain_{name}" in macros else None,
            features={feature: types.get(feature, "VARCHAR") for feature in taken},
            left_out=tuple(feature for feature in taken if feature not in types),
        )
    return offers


def _tables(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], dict[str, str]]:
    """Schema and table to columns, name to type."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for schema, table, column, kind in con.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() "
        "where database_name = current_database() and not internal order by schema_name, table_name, column_index"
    ).fetchall():
        found.setdefault((schema, table), {})[column] = kind
    return found


def _macros(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, ...]]:
    """The scalar macros of the schema of scores; those that score take a row, and after it each feature by name."""
    rows = con.execute(
        "select function_name, parameters from duckdb_functions() "
        "where database_name = current_database() and schema_name = ? and function_type = 'macro'",
        [SCHEMA],
    ).fetchall()
    return {name: tuple(parameters)[1:] for name, parameters in rows}


def _relation(schema: str, name: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}"


def described(offer: Offer) -> dict[str, Any]:
    """An offer as JSON knows it."""
    return {
        "prediction": offer.name,
        "entity": offer.entity,
        "entity_type": offer.entity_type,
        "item": offer.item,
        "can_score_rows": offer.macro is not None,
        "can_explain_rows": offer.explainer is not None,
        "has_reasons": offer.has_reasons,
        "features": [{"name": name, "type": kind} for name, kind in offer.features.items()],
    }
