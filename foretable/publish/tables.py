"""What of a warehouse is published: marts, scores, monitoring, and the rows that were scored last; each as a table.

Views become tables, since what they read stays behind. `examples__<name>` holds only the rows of the newest as_of, so
that `scores.<name>(examples)` has its features in the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlglot.expressions as exp

from foretable.publish.errors import PublishError
from foretable.publish.personal import Personal
from ibis_features import FeatureSchema
from ibis_features.catalog import Manifest, relation_name
from ibis_features.errors import NotFoundError
from models_ml.registry import has_registry
from udfs.compiling.store import MODELS_SCHEMA, SCHEMA
from udfs.quoting import identifier, literal

if TYPE_CHECKING:
    import duckdb

PREFIXES = ("mart__", "pred__", "monitoring__")
MODEL_SCHEMAS = (SCHEMA, MODELS_SCHEMA)
"""Schemas of macros and of the tables that hold their models."""
REASONS = "reasons"


@dataclass(frozen=True)
class Relation:
    """A table or view of a file, by schema and name."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    def __str__(self) -> str:
        return self.name if self.schema == "main" else f"{self.schema}.{self.name}"

    @classmethod
    def named(cls, text: str) -> Relation:
        """Of what `str` gave."""
        schema, _, name = text.rpartition(".")
        return cls(schema or "main", name)

    @property
    def is_exported(self) -> bool:
        """Do other stores get it, too? Not what is in the file for its macros alone."""
        return self.schema not in MODEL_SCHEMAS and not self.name.startswith("examples__")


@dataclass(frozen=True)
class Serving:
    """A prediction whose scores are there: the version that serves, its table of scores and its rows.

    newest: the as_of that was scored last.
    """

    prediction: str
    version: int
    model: str
    schema: FeatureSchema
    scores: Relation
    examples: Relation
    newest: datetime


@dataclass(frozen=True)
class Published:
    """A relation of the warehouse and the SELECT that it is published by.

    dropped: the columns left out; lacks: those of them that a scorer reads.
    """

    relation: Relation
    select: str
    dropped: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def serving_of(con: duckdb.DuckDBPyConnection, manifest: Manifest | None) -> list[Serving]:
    """The predictions that serve, are scored, and whose scores are to be published, by name."""
    if not has_registry(con):
        return []
    rows = con.execute(
        """
        select models.prediction, models.version, models.model, models.feature_schema, models.target, models.examples
        from foretable.active as active
        inner join foretable.models as models
            on active.prediction = models.prediction and active.version = models.version
        order by models.prediction
        """
    ).fetchall()
    found = []
    said = _said(manifest)
    there = {relation for relation in relations_of(con) if said.get(relation.name, True)}
    for prediction, version, model, schema, target, examples in rows:
        scores, read = _relation(target), _relation(examples)
        if {scores, read} <= there:
            keys = FeatureSchema.from_json(json.loads(schema))
            newest = con.execute(f"select max({identifier(keys.as_of)})::timestamp from {scores.sql}").fetchone()
            if newest and newest[0]:
                found.append(Serving(prediction, version, model, keys, scores, read, newest[0]))
    return found


def published_tables(
    con: duckdb.DuckDBPyConnection, serving: Sequence[Serving], manifest: Manifest | None, personal: Personal
) -> list[Published]:
    """All that is published, by schema and name; raises NotFoundError where there is nothing.

    A model is published for its name (`mart__`, `pred__`, `monitoring__`) or as a prediction that serves, unless its
    meta says `publish: false`, or because its meta says `publish: true`.
    """
    said = _said(manifest)
    examples = {one.examples: one for one in serving}
    scores = {one.scores for one in serving}
    found = []
    for relation in relations_of(con):
        if relation.schema in MODEL_SCHEMAS:
            found.append(Published(relation, f"select * from {relation.sql}"))
        elif relation in examples:
            found.append(_newest_rows(con, examples[relation], personal))
        elif said.get(relation.name, relation in scores or relation.name.startswith(PREFIXES)):
            found.append(_table(con, relation, personal))
    if all(one.relation.schema in MODEL_SCHEMAS for one in found):
        raise NotFoundError("the warehouse holds no scores and no marts to publish; build some with `foretable build`")
    return found


def relations_of(con: duckdb.DuckDBPyConnection, database: str | None = None) -> list[Relation]:
    """Every table and view of an attached file, by schema and name; those of a half-finished build are none.

    database: None is the one in use.
    """
    rows = con.execute(
        """
        select schema_name, table_name from duckdb_tables()
        where database_name = coalesce($database, current_database()) and not temporary
        union all
        select schema_name, view_name from duckdb_views()
        where database_name = coalesce($database, current_database()) and not internal and not temporary
        order by all
        """,
        {"database": database},
    ).fetchall()
    return [Relation(*row) for row in rows if not row[1].endswith("__building")]


def exported_tables(con: duckdb.DuckDBPyConnection) -> list[Relation]:
    """The tables of a published file that other stores get: all but those that are there for its macros.

    Raises PublishError where two schemas have a table of one name.
    """
    tables = [relation for relation in relations_of(con) if relation.is_exported]
    names = [relation.name.casefold() for relation in tables]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PublishError(f"two schemas have a table {twice[0]}; give one of the models an alias to tell them apart")
    return tables


def _table(con: duckdb.DuckDBPyConnection, relation: Relation, personal: Personal) -> Published:
    hidden = personal.columns_of(relation.name)
    kinds = _columns(con, relation)
    kept, dropped = [], []
    for column, kind in kinds.items():
        expression = personal.expression(column, hidden)
        if column == REASONS and hidden and kind.startswith("STRUCT(feature"):
            names = ", ".join(literal(name) for name in sorted(hidden))
            expression = f"list_filter({REASONS}, lambda reason: lower(reason.feature) not in ({names})) as {REASONS}"
        if expression is None:
            dropped.append(column)
        else:
            kept.append(expression)
    return Published(relation, f"select {', '.join(kept)} from {relation.sql}", tuple(dropped))


def _newest_rows(con: duckdb.DuckDBPyConnection, one: Serving, personal: Personal) -> Published:
    hidden = personal.columns_of(one.scores.name)
    features = frozenset(name.casefold() for name in one.schema.names)
    expressions = {column: personal.expression(column, hidden, features) for column in _columns(con, one.examples)}
    kept = [expression for expression in expressions.values() if expression is not None]
    dropped = tuple(column for column, expression in expressions.items() if expression is None)
    as_of = identifier(one.schema.as_of)
    where = f"{as_of} = timestamp '{one.newest}'"
    select = f"select {', '.join(kept)} from {one.examples.sql} where {where}"
    return Published(one.examples, select, dropped, tuple(name for name in dropped if name.casefold() in features))


def _columns(con: duckdb.DuckDBPyConnection, relation: Relation) -> dict[str, str]:
    """The columns with their types; raises PublishError on a view that needs what is not in the file."""
    import duckdb

    try:
        return {row[0]: row[1] for row in con.execute(f"describe {relation.sql}").fetchall()}
    except duckdb.Error as error:
        said = str(error).split("\n")[0]
        raise PublishError(
            f"{relation} cannot be read without Python or the files it was built from ({said}); make it a table, or "
            "say `publish: false` in its meta"
        ) from None


def _said(manifest: Manifest | None) -> dict[str, bool]:
    """What models say under meta about being published, by the name of their relation."""
    nodes = manifest["nodes"].values() if manifest else []
    return {relation_name(node): bool(node["publish"]) for node in nodes if "publish" in node}


def _relation(name: str | None) -> Relation:
    """Of a quoted SQL name without a catalog; versions of older releases have none, and then it is no relation."""
    if name is None:
        return Relation("", "")
    table = exp.to_table(name, dialect="duckdb")
    return Relation(table.db or "main", table.name)
