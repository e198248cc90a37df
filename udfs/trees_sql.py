"""Compile trees to SQL: a macro stored in the file that gives the bits that XGBoost gives, without Python.

All nodes of all trees lie in one list, level by level, in a one-row table; `udfs.tree_nodes` tells what a node is.
A row walks through all trees at once, one level a step, by nested `list_transform`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import duckdb
import ibis
import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError, Examples
from models_ml.calibration import Calibration, calibration_of
from models_ml.encoding import MatrixColumn, empty_batch
from models_ml.interactions import Interaction, interactions_of, uncrossed
from models_ml.trainer import FittedModel
from models_ml.trees import TreesModel
from udfs.calibration_sql import score_sql
from udfs.interactions_sql import feature_probes, read_from
from udfs.quoting import check_names, identifier, literal, readable
from udfs.transactions import transaction
from udfs.tree_nodes import PROBES, TreeNodes, lay_out, probes_of

SCHEMA = "scores"
PARITY_ROWS = 2_000


def compile_sql(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: FittedModel,
    sample: Examples | pa.RecordBatch | pa.Table | None = None,
    *,
    rows: int = PARITY_ROWS,
) -> None:
    """Store the model as `scores.<prediction>(row)`, `(f1, …, fn)` and the table macro `<prediction>_table('name')`.

        select user_id, scores.churn(features) from features__user as features
        select scores.churn(order_count := 3, days_since_order := 12)
        from scores.churn_table('features__user')

    A model of a single feature has the row form only. The macros read `scores.<prediction>__trees` of the database in
    use: attached under another name, say `use` first. All is done in the caller's transaction, or in one of its own.

    Raises ArtifactError, and publishes nothing, where the model cannot be compiled or where the macro differs in any
    bit from the model on rows made for the purpose or on `rows` of `sample`.
    """
    check_names(model.schema)
    trees = trees_of(model)
    if trees is None:
        raise ArtifactError(f"refused to publish {SCHEMA}.{prediction}: the macro knows trees alone")
    nodes = lay_out(trees)
    with transaction(con):
        con.execute(f"create schema if not exists {SCHEMA}")
        _create_model_table(con, prediction, nodes)
        _create_macros(con, prediction, trees, nodes, calibration_of(model), interactions_of(model))
        with _registered(con, pa.Table.from_batches([feature_probes(model, probes_of(trees, nodes))])) as probes:
            check_parity(con, prediction, model, probes, rows=PROBES)
            if len(model.schema.features) > 1:
                check_parity(con, prediction, model, probes, rows=PROBES, by_columns=True)
        if isinstance(sample, Examples):
            check_parity(con, prediction, model, f"({ibis.to_sql(sample.table, dialect='duckdb')})", rows=rows)
        elif sample is not None:
            table = sample if isinstance(sample, pa.Table) else pa.Table.from_batches([sample])
            with _registered(con, table) as relation:
                check_parity(con, prediction, model, relation, rows=rows)


def trees_of(fitted: FittedModel) -> TreesModel | None:
    """The trees of a model, calibrated or not, with interactions or not; None where it is of another family."""
    model = uncrossed(fitted)
    return model if isinstance(model, TreesModel) else None


def drop_sql(con: duckdb.DuckDBPyConnection, prediction: str) -> None:
    """Drop what `compile_sql` made, if it is there."""
    con.execute(f"drop macro if exists {_qualified(prediction)}")
    con.execute(f"drop macro table if exists {_qualified(f'{prediction}_table')}")
    con.execute(f"drop table if exists {_qualified(f'{prediction}__trees')}")


def check_parity(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: FittedModel,
    relation: str,
    *,
    rows: int = PARITY_ROWS,
    by_columns: bool = False,
) -> int:
    """Compare the stored macro with the model, bit by bit, on a sample of `relation` (a quoted SQL name or a SELECT in
    brackets) that has the features in whatever types; return the number of rows compared.

    Raises ArtifactError where any score differs.
    """
    features = model.schema.features
    names = ", ".join(f"examples.{identifier(feature.name)}" for feature in features)
    casts = [readable(f"examples.{identifier(f.name)}", f) + f" as c{place}" for place, f in enumerate(features)]
    sql = f"""
        select {_qualified(prediction)}({names if by_columns else "examples"}) as score, {", ".join(casts)}
        from (select * from {relation} using sample reservoir({rows:d} rows) repeatable (0)) as examples
    """
    found = con.execute(sql).to_arrow_table()
    if not found.num_rows:
        return 0
    types = empty_batch(model.schema).schema
    arrays = [found.column(place + 1).combine_chunks().cast(kind.type) for place, kind in enumerate(types)]
    expected = model.predict(pa.RecordBatch.from_arrays(arrays, schema=types))
    scores = found.column(0).to_numpy()
    differing = np.flatnonzero(scores.astype(np.float32).view(np.uint32) != expected.view(np.uint32))
    if len(differing):
        place = int(differing[0])
        raise ArtifactError(
            f"refused to publish {SCHEMA}.{prediction}: SQL and model differ on {len(differing):,} of "
            f"{len(scores):,} rows, say {scores[place]!r} and {expected[place]!r}; please report it"
        )
    return len(scores)


def _create_model_table(con: duckdb.DuckDBPyConnection, prediction: str, nodes: TreeNodes) -> None:
    structs = pa.StructArray.from_arrays(
        [pa.array(nodes.slots), pa.array(nodes.thresholds), pa.array(nodes.children)],
        ["slot", "threshold", "child"],
    )
    table = pa.table({"nodes": _one_list(structs), "roots": _one_list(structs.slice(0, nodes.trees))})
    with _registered(con, table) as relation:
        con.execute(
            f"create or replace table {_qualified(f'{prediction}__trees')} as "
            f"select *, {literal(nodes.fingerprint)} as fingerprint from {relation}"
        )


def _create_macros(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: TreesModel,
    nodes: TreeNodes,
    calibration: Calibration | None,
    pairs: Sequence[Interaction],
) -> None:
    features = model.schema.features[: len(model.schema.features) - len(pairs)]
    # A macro's parameter replaces any name like it in the body, so the body's own names must not be features.
    own = _Names.beside(model.schema.names)
    from_row = [f"struct_extract({own.row}, {literal(feature.name)})" for feature in features]
    source = f'from (select "row" as {own.row})'
    scalar = partial(_scalar, prediction, model, nodes, calibration, pairs, own)
    forms = [f'("row") as {scalar(expressions=from_row, source=source)}']
    if len(features) > 1:
        names = [identifier(feature.name) for feature in features]
        forms.append(f"({', '.join(names)}) as {scalar(expressions=names)}")
    con.execute(f"create or replace macro {_qualified(prediction)} {', '.join(forms)}")

    from_table = [f"{own.row}.{identifier(feature.name)}" for feature in features]
    score = scalar(expressions=from_table)
    con.execute(
        f"create or replace macro {_qualified(f'{prediction}_table')}({own.relation}) as table "
        f"select {own.row}.*, {score} as score from query_table({own.relation}) as {own.row}"
    )


@dataclass(frozen=True)
class _Names:
    """Names of the macro's own, none of which is a feature's."""

    row: str
    columns: str
    inputs: str
    trees: str
    node: str
    total: str
    leaf: str
    relation: str
    margin: str
    piece: str

    @classmethod
    def beside(cls, features: list[str]) -> "_Names":
        taken = {name.casefold() for name in features}
        suffix = ""
        names = (
            *("_row", "_columns", "_inputs", "_trees", "_node", "_total", "_leaf", "_relation"),
            *("_margin", "_piece"),
        )
        while any(name + suffix in taken for name in names):
            suffix += "_"
        return cls(*(name + suffix for name in names))


def _scalar(
    prediction: str,
    model: TreesModel,
    nodes: TreeNodes,
    calibration: Calibration | None,
    pairs: Sequence[Interaction],
    own: _Names,
    *,
    expressions: list[str],
    source: str = "",
) -> str:
    """The score as one scalar subquery. Every input is written once, in a SELECT without tables of the macro's own."""
    columns = ", ".join(
        f"{readable(expression, feature)} as c{place}"
        for place, (expression, feature) in enumerate(zip(expressions, model.schema.features, strict=False))
    )
    sources = read_from(model.schema, pairs, [f"{own.columns}.c{place}" for place in range(len(expressions))])
    read = [model.columns[place] for place in nodes.columns]
    values = [_value(sources[column.feature], column) for column in read]
    values_list = ", ".join(f"{value} as v{place}" for place, value in enumerate(values)) or "1"
    slots = [
        f"coalesce({own.inputs}.v{place}, '{fill}'::FLOAT)" for fill in ("inf", "-inf") for place in range(len(values))
    ]
    inputs = ", ".join([*slots, "'-inf'::FLOAT"])
    walk = f"{own.trees}.roots"
    for _ in range(nodes.depth):
        is_below = f"({own.inputs}.slots[{own.node}.slot] < {own.node}.threshold)::INTEGER"
        walk = f"list_transform({walk}, lambda {own.node}: {own.trees}.nodes[{own.node}.child - {is_below}])"
    leaves = f"list_transform({walk}, lambda {own.node}: {own.node}.threshold)"
    start = _float_literal(nodes.base_margin)
    margin = f"list_reduce({leaves}, lambda {own.total}, {own.leaf}: ({own.total} + {own.leaf})::FLOAT, {start})"
    stale = literal(
        f"the macro {SCHEMA}.{prediction} and the table {SCHEMA}.{prediction}__trees are of different versions; "
        "if the macro lies in an attached database, say `use` first"
    )
    return f"""(
        select {score_sql(calibration, f"{own.margin}.margin", own=own.piece)}
        from (
            select case when {own.trees}.fingerprint = {literal(nodes.fingerprint)}
                then {margin} else error({stale})::FLOAT end as margin
            from (
                select [{inputs}] as slots
                from (select {values_list} from (select {columns} {source}) as {own.columns}) as {own.inputs}
            ) as {own.inputs}, {_qualified(f"{prediction}__trees")} as {own.trees}
        ) as {own.margin}
    )"""


def _value(column_sql: str, column: MatrixColumn) -> str:
    """One matrix column as FLOAT, NULL where `models_ml.encoding.matrix` gives NaN."""
    if column.role == "category":
        vocabulary = ", ".join(literal(value) for value in column.vocabulary)
        return f"(list_position([{vocabulary}]::VARCHAR[], {column_sql}) - 1)::FLOAT"
    if column.role == "embedding":
        column_sql = f"{column_sql}[{column.position + 1}]"
    return f"case when isfinite({column_sql}) then {column_sql} end"


def _float_literal(value: np.float32) -> str:
    return f"'{np.format_float_scientific(value, unique=True, trim='-')}'::FLOAT"


def _qualified(name: str) -> str:
    """In the schema of whichever database is in use: a file keeps its macros when it is renamed."""
    return f"{SCHEMA}.{identifier(name)}"


def _one_list(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


@contextmanager
def _registered(con: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[str]:
    name = "foretable_compiling"
    con.register(name, table)
    try:
        yield name
    finally:
        with suppress(duckdb.TransactionException):  # the transaction failed; the view goes with it
            con.unregister(name)
